#include "packages.hpp"

#include <libdnf5/base/transaction_package.hpp>
#include <libdnf5/transaction/transaction_item_action.hpp>

namespace dnf5_oci {

using namespace libdnf5;

std::map<std::string, std::vector<rpm::Package>> inbound_packages(const base::Transaction & transaction) {
    std::map<std::string, std::vector<rpm::Package>> packages;
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


Package description(const rpm::Package & package) {
    const auto checksum = package.get_checksum();
    return {
        package.get_location(), checksum.get_type_str() + ":" + checksum.get_checksum(), package.get_download_size()};
}


void announce_packages(
    Base & base, Service & service, const Repositories & repositories, const base::Transaction & transaction) try {
    const auto packages = inbound_packages(transaction);
    for (const auto & repository : repositories) {
        const auto id = repository.repo->get_id();
        const auto found = packages.find(id);
        // dnf5 asks the first baseurl first, which may be a web server.
        if (repository.reference.empty() || found == packages.end()) {
            continue;
        }
        std::vector<Package> missing;
        for (const auto & package : found->second) {
            if (!package.is_available_locally()) {
                missing.push_back(description(package));
            }
        }
        if (!missing.empty()) {
            service.announce_packages(id, missing);
        }
    }
} catch (const std::exception & error) {
    // An older service does not know the method.
    base.get_logger()->debug("oci: announcing packages failed: {}", error.what());
}

}  // namespace dnf5_oci
