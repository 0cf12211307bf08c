#include "head_start.hpp"

#include "progress.hpp"

#include <libdnf5/base/transaction_package.hpp>
#include <libdnf5/rpm/package.hpp>
#include <libdnf5/transaction/transaction_item_action.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace dnf5_oci {

using namespace libdnf5;

namespace {

using Packages = std::map<std::string, std::vector<rpm::Package>>;


Target target(const Repository & repository) {
    return {repository.repo->get_id(), repository.reference, repository.repo->get_cachedir()};
}


Package description(const rpm::Package & package) {
    const auto checksum = package.get_checksum();
    return {
        package.get_location(), checksum.get_type_str() + ":" + checksum.get_checksum(), package.get_download_size()};
}


void log_failure(Base & base, const std::string & line) {
    base.get_logger()->warning("oci: fetching ahead of dnf5 failed: {}", line);
}


/// The packages to be installed, by the ids of their repositories; none if dnf5 will refuse the transaction.
Packages inbound_packages(const base::Transaction & transaction) {
    Packages packages;
    // get_problems() is not const.
    if (base::Transaction(transaction).get_problems() != GoalProblem::NO_PROBLEM) {
        return packages;
    }
    for (const auto & item : transaction.get_transaction_packages()) {
        const auto package = item.get_package();
        // With a base URL the package is on another host.
        if (transaction::transaction_item_action_is_inbound(item.get_action()) && package.get_baseurl().empty()) {
            packages[package.get_repo_id()].push_back(package);
        }
    }
    return packages;
}

}  // namespace


void prefetch_metadata(Base & base, Service & service, const Repositories & repositories) try {
    for (const auto & repository : repositories) {
        if (repository.reference.empty()) {
            continue;
        }
        service.prefetch_repodata(target(repository), metadata_options(repository), [&](const auto & error) {
            if (error) {
                log_failure(base, line_of(*error));
            } else {
                // The service has already compared the cache with the registry.
                repository.repo->set_sync_strategy(repo::Repo::SyncStrategy::LAZY);
            }
        });
    }
    service.wait([](const Report &) { return true; });
} catch (const std::exception & error) {
    log_failure(base, error.what());
}


bool prefetch_packages(
    Base & base, Service & service, const Repositories & repositories, const base::Transaction & transaction) try {
    Bars bars(base);
    const auto packages = inbound_packages(transaction);
    std::uint64_t job = 0;
    for (const auto & repository : repositories) {
        const auto found = packages.find(repository.repo->get_id());
        if (repository.reference.empty() || found == packages.end()) {
            continue;
        }
        ++job;
        std::vector<Package> descriptions;
        for (const auto & package : found->second) {
            descriptions.push_back(description(package));
            bars.name(job, package.get_location(), package.get_full_nevra());
        }
        auto options = repository.access;
        options["job"] = sdbus::Variant{job};
        service.fetch_packages(target(repository), descriptions, options, [&base](const auto & error) {
            if (error) {
                log_failure(base, line_of(*error));
            }
        });
    }
    return service.wait([&bars](const Report & report) { return bars.show(report); });
} catch (const std::exception & error) {
    log_failure(base, error.what());
    return true;
}

}  // namespace dnf5_oci
