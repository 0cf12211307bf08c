#include "on_demand.hpp"

#include <cstdint>
#include <iostream>

namespace dnf5_oci {

using namespace libdnf5;

namespace {

// dnf5's own three are made for mirrors that must be spared. Here it is waiting that takes the time.
constexpr std::uint32_t PARALLEL_DOWNLOADS{10};

// In seconds. A package inside a large layer comes when all of that has been read, with silence before it;
// that a registry sends nothing is noticed by the service, much earlier.
constexpr std::int32_t TIMEOUT{3600};

// The service wants none, but without one libcurl does not send the name.
constexpr const char * NO_PASSWORD{"-"};


/// Sets what the user has not set.
template <typename Option, typename Value>
void set_unless_chosen(Option & option, const Value & value) {
    if (option.get_priority() <= libdnf5::Option::Priority::DEFAULT) {
        option.set(libdnf5::Option::Priority::RUNTIME, value);
    }
}


void point_to(repo::Repo & repository, const Address & address) {
    constexpr auto priority = Option::Priority::RUNTIME;
    auto & config = repository.get_config();
    config.get_baseurl_option().set(priority, std::vector<std::string>{address.baseurl});
    config.get_proxy_option().set(priority, address.proxy);
    config.get_proxy_username_option().set(priority, address.proxy_username);
    config.get_proxy_password_option().set(priority, NO_PASSWORD);
    set_unless_chosen(config.get_max_parallel_downloads_option(), PARALLEL_DOWNLOADS);
    set_unless_chosen(config.get_timeout_option(), TIMEOUT);
}

}  // namespace


bool open(Base & base, Backend & service, const Repositories & repositories) {
    bool any = false;
    for (const auto & repository : repositories) {
        try {
            const auto options = access_options(*repository);
            point_to(*repository, service.open_repository(repository->get_id(), reference_of(*repository), options));
            any = true;
        } catch (const sdbus::Error & error) {
            repository->set_sync_strategy(repo::Repo::SyncStrategy::ONLY_CACHE);
            warn(base, line_of(error));
        }
    }
    return any;
}


void show_failures(Base & base, Backend & service) {
    for (const auto & line : service.take_failures()) {
        warn(base, line);
    }
}


void print_failures(Backend & service) try {
    for (const auto & line : service.take_failures()) {
        std::cerr << line << std::endl;
    }
} catch (const sdbus::Error & error) {
    // The service has gone, and what it had to say with it.
    std::cerr << line_of(error) << std::endl;
}

}  // namespace dnf5_oci
