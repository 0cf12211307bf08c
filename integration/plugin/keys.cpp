#include "keys.hpp"

#include <libdnf5/base/transaction_package.hpp>
#include <libdnf5/repo/config_repo.hpp>
#include <libdnf5/transaction/transaction_item_action.hpp>

#include <algorithm>

namespace dnf5_oci {

using namespace libdnf5;

bool needs_keys(const Repository & repository) {
    return repository.repo->get_config().get_repo_gpgcheck_option().get_value();
}


bool needs_keys(const Repository & repository, const base::Transaction & transaction) {
    const auto id = repository.repo->get_id();
    return std::ranges::any_of(transaction.get_transaction_packages(), [&id](const auto & item) {
        return transaction::transaction_item_action_is_inbound(item.get_action()) &&
               item.get_package().get_repo_id() == id;
    });
}


void fetch_keys(Service & service, const Repository & repository) {
    auto & option = repository.repo->get_config().get_gpgkey_option();
    auto keys = option.get_value();
    if (std::ranges::none_of(keys, is_reference)) {
        return;
    }
    const auto id = repository.repo->get_id();
    const auto cache = repository.repo->get_cachedir();
    for (auto & key : keys) {
        if (is_reference(key)) {
            key = "file://" + service.fetch_file(id, key, cache, metadata_options(repository));
        }
    }
    option.set(Option::Priority::RUNTIME, keys);
}

}  // namespace dnf5_oci
