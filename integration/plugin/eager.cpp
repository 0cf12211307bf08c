#include "eager.hpp"

#include "progress.hpp"

#include <libdnf5/base/transaction_package.hpp>
#include <libdnf5/transaction/transaction_item_action.hpp>

#include <cstdint>
#include <filesystem>

namespace dnf5_oci {

using namespace libdnf5;

namespace {

// What progress reports call the metadata.
constexpr const char * REPODATA{"repodata"};

constexpr const char * GIVEN_UP{"the download was given up"};


Repository describe(const repo::Repo & repository) {
    return {repository.get_id(), reference_of(repository), repository.get_cachedir()};
}


Options prefetch_options(repo::Repo & repository) {
    auto options = access_options(repository);
    const std::int64_t max_age = repository.get_config().get_metadata_expire_option().get_value();
    options["max-age"] = sdbus::Variant{max_age};
    if (const auto file = repository.get_repo_file_path(); !file.empty()) {
        options["repo-file"] = sdbus::Variant{file};
    }
    return options;
}


Package describe(const rpm::Package & package) {
    const auto checksum = package.get_checksum();
    return {
        package.get_location(), checksum.get_type_str() + ":" + checksum.get_checksum(), package.get_download_size()};
}


bool is_cached(const repo::Repo & repository) {
    std::error_code error;
    return std::filesystem::exists(repository.get_cachedir() + "/repodata/repomd.xml", error);
}

}  // namespace


Packages inbound_packages(const base::Transaction & transaction) {
    // A copy, because only a transaction that can be changed tells its problems.
    if (base::Transaction(transaction).get_problems() != GoalProblem::NO_PROBLEM) {
        return {};
    }
    Packages packages;
    for (const auto & item : transaction.get_transaction_packages()) {
        const auto package = item.get_package();
        if (transaction::transaction_item_action_is_inbound(item.get_action()) &&
            !reference_of(*package.get_repo()).empty()) {
            packages[package.get_repo_id()].push_back(package);
        }
    }
    return packages;
}


void prefetch(Base & base, Backend & service, const Repositories & repositories) {
    Bars bars(base);
    std::map<std::uint64_t, repo::RepoWeakPtr> jobs;
    for (const auto & repository : repositories) {
        const auto job = service.prefetch_repodata(describe(*repository), prefetch_options(*repository));
        bars.name(job, REPODATA, repository->get_config().get_name_option().get_value(), repository->get_user_data());
        jobs.emplace(job, repository);
    }
    const bool complete = service.wait(
        [&bars](const Report & report) { return bars.show(report); },
        [&](const Failure & failure) {
            const bool cached = is_cached(*jobs.at(failure.job));
            const auto line = failure.line + (cached ? "; the cached metadata are used" : "");
            base.get_logger()->warning("{}", line);
            bars.fail(failure.job, REPODATA, line);
            return true;
        });
    if (!complete) {
        throw std::runtime_error(GIVEN_UP);
    }
}


void fetch(Base & base, Backend & service, const Packages & packages) {
    Bars bars(base);
    for (const auto & [id, wanted] : packages) {
        std::vector<Package> listed;
        for (const auto & package : wanted) {
            listed.push_back(describe(package));
        }
        auto & repository = *wanted.front().get_repo();
        const auto job = service.fetch_packages(describe(repository), listed, access_options(repository));
        for (const auto & package : wanted) {
            bars.name(job, package.get_location(), package.get_full_nevra());
        }
    }
    std::string reason = GIVEN_UP;
    const bool complete = service.wait(
        [&bars](const Report & report) { return bars.show(report); },
        [&reason](const Failure & failure) {
            reason = failure.line;
            return false;
        });
    if (!complete) {
        throw Stop(reason);
    }
}


}  // namespace dnf5_oci
