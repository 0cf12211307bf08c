#include "on_demand.hpp"

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string_view>

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

constexpr const char * NO_PROXY{
    "dnf5-oci cannot be reached: it is a proxy to dnf5, and no_proxy=* forbids all of them; unset that, or set "
    "fetch = eager in oci.conf"};

/// Sets what the user has not set.
template <typename Option, typename Value>
void set_unless_chosen(Option & option, const Value & value) {
    if (option.get_priority() <= libdnf5::Option::Priority::DEFAULT) {
        option.set(libdnf5::Option::Priority::RUNTIME, value);
    }
}


/// Has the service serve every address of a repository that is a reference. The others are reached
/// through the service as well: there is one proxy for all of them.
void serve(Backend & service, repo::Repo & repository) {
    constexpr auto priority = Option::Priority::RUNTIME;
    auto & config = repository.get_config();
    auto options = access_options(repository);
    options["ignored"] = sdbus::Variant{ignored_options(repository)};
    auto urls = config.get_baseurl_option().get_value();
    Address address;
    for (auto & url : urls) {
        if (is_reference(url)) {
            address = service.open_repository(repository.get_id(), url, options);
            url = address.baseurl;
        }
    }
    config.get_baseurl_option().set(priority, urls);
    config.get_proxy_option().set(priority, address.proxy);
    config.get_proxy_username_option().set(priority, address.proxy_username);
    config.get_proxy_password_option().set(priority, NO_PASSWORD);
    // Without mirrors all of them are from the same one, and the lower of these is the limit.
    set_unless_chosen(config.get_max_parallel_downloads_option(), PARALLEL_DOWNLOADS);
    set_unless_chosen(config.get_max_downloads_per_mirror_option(), PARALLEL_DOWNLOADS);
    set_unless_chosen(config.get_timeout_option(), TIMEOUT);
}


/// Whether libcurl takes no proxy at all, not even one that it is told to.
bool takes_no_proxy() {
    const char * value = std::getenv("no_proxy");
    if (!value) {
        value = std::getenv("NO_PROXY");
    }
    return value && std::string_view(value) == "*";
}

}  // namespace


bool open(Base & base, Backend & service, const Repositories & repositories) {
    if (takes_no_proxy()) {
        throw std::runtime_error(NO_PROXY);
    }
    bool any = false;
    for (const auto & repository : repositories) {
        try {
            serve(service, *repository);
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
