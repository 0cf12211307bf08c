#include "on_demand.hpp"

#include <cstdint>
#include <iostream>

namespace dnf5_oci {

using namespace libdnf5;

namespace {

// dnf5's own three are made for mirrors that must be spared. Here it is waiting that takes the time.
constexpr std::uint32_t PARALLEL_DOWNLOADS{10};

// The service wants none, but without one libcurl does not send the name.
constexpr const char * NO_PASSWORD{"-"};


/// Raises a number of downloads at the same time, where the user has not set it.
void raise(OptionChild<OptionNumber<std::uint32_t>> & downloads) {
    if (downloads.get_priority() <= Option::Priority::DEFAULT) {
        downloads.set(Option::Priority::RUNTIME, PARALLEL_DOWNLOADS);
    }
}


void point_to(repo::Repo & repository, const Address & address) {
    constexpr auto priority = Option::Priority::RUNTIME;
    auto & config = repository.get_config();
    config.get_baseurl_option().set(priority, std::vector<std::string>{address.baseurl});
    config.get_proxy_option().set(priority, address.proxy);
    config.get_proxy_username_option().set(priority, address.proxy_username);
    config.get_proxy_password_option().set(priority, NO_PASSWORD);
    raise(config.get_max_parallel_downloads_option());
    // Without mirrors all of them are from the same one, and this is the lower limit.
    raise(config.get_max_downloads_per_mirror_option());
}

}  // namespace


void open(Base & base, Backend & service, const Repositories & repositories) {
    for (const auto & repository : repositories) {
        try {
            const auto options = access_options(*repository);
            point_to(*repository, service.open_repository(repository->get_id(), reference_of(*repository), options));
        } catch (const sdbus::Error & error) {
            repository->set_sync_strategy(repo::Repo::SyncStrategy::ONLY_CACHE);
            warn(base, line_of(error));
        }
    }
}


void show_failures(Base & base, Backend & service) {
    for (const auto & line : service.take_failures()) {
        warn(base, line);
    }
}


void print_failures(Backend & service) {
    for (const auto & line : service.take_failures()) {
        std::cerr << line << std::endl;
    }
}

}  // namespace dnf5_oci
