#include "head_start.hpp"

#include "packages.hpp"
#include "progress.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace dnf5_oci {

using namespace libdnf5;

namespace {

Target target(const Repository & repository) {
    return {repository.repo->get_id(), repository.reference, repository.repo->get_cachedir()};
}


void log_failure(Base & base, const std::string & line) {
    base.get_logger()->warning("oci: fetching ahead of dnf5 failed: {}", line);
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
