#include "repositories.hpp"

#include <libdnf5/repo/config_repo.hpp>
#include <libdnf5/repo/repo_query.hpp>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace dnf5_oci {

using namespace libdnf5;

namespace {

constexpr const char * SCHEME{"oci://"};

// Options of a repository and the service's names for them.
constexpr std::pair<const char *, const char *> PASSED_ON[]{
    {"username", "username"},
    {"password", "password"},
    {"sslcacert", "ca-cert"},
    {"sslclientcert", "client-cert"},
    {"sslclientkey", "client-key"},
    {"proxy", "proxy"},
    {"proxy_username", "proxy-username"},
    {"proxy_password", "proxy-password"}};

// Options that the service has no equivalent for.
constexpr const char * IGNORED[]{
    "ip_resolve",
    "proxy_auth_method",
    "proxy_sslcacert",
    "proxy_sslclientcert",
    "proxy_sslclientkey",
    "proxy_sslverify"};

// dnf5's default of three spares public mirrors. Here most of the time is spent waiting.
constexpr std::uint32_t PARALLEL_DOWNLOADS{10};

// For dnf5's connection to the service, in seconds. A package inside a large layer arrives after the whole layer
// has been read, with silence before it. The service applies the user's values to the registry.
constexpr std::int32_t TIMEOUT{3600};
constexpr std::uint32_t MINRATE{1};

// The service ignores the password, but libcurl sends no user name without one.
constexpr const char * NO_PASSWORD{"-"};


bool is_reference(const std::string & url) {
    return url.starts_with(SCHEME);
}


/// Whether dnf5 fetches a list of addresses and ignores baseurl.
bool has_list(const repo::ConfigRepo & config) {
    const auto is_set = [](const OptionString & option) { return !option.empty() && !option.get_value().empty(); };
    return is_set(config.get_metalink_option()) || is_set(config.get_mirrorlist_option());
}


Options access_options(repo::Repo & repo) {
    Options options;
    if (!repo.get_config().get_sslverify_option().get_value()) {
        options["tls-verify"] = sdbus::Variant{false};
    }
    auto & all = repo.get_config().opt_binds();
    for (const auto & [dnf, service] : PASSED_ON) {
        const auto & option = all.at(dnf);
        if (option.get_priority() > Option::Priority::DEFAULT && !option.get_value_string().empty()) {
            options[service] = sdbus::Variant{option.get_value_string()};
        }
    }
    // How slow the registry may be. dnf5's defaults are the service's.
    const auto & minrate = repo.get_config().get_minrate_option();
    if (minrate.get_priority() > Option::Priority::DEFAULT) {
        options["minrate"] = sdbus::Variant{static_cast<std::uint64_t>(minrate.get_value())};
    }
    const auto & timeout = repo.get_config().get_timeout_option();
    if (timeout.get_priority() > Option::Priority::DEFAULT) {
        options["timeout"] = sdbus::Variant{static_cast<std::uint32_t>(timeout.get_value())};
    }
    // The target's architecture, which may differ from the machine's.
    const auto vars = repo.get_base()->get_vars();
    if (vars->contains("basearch")) {
        options["arch"] = sdbus::Variant{vars->get_value("basearch")};
    }
    return options;
}


std::vector<std::string> ignored_options(repo::Repo & repo) {
    std::vector<std::string> ignored;
    for (const auto * name : IGNORED) {
        // A value from dnf.conf is meant for all repositories, and has an effect on others.
        if (repo.get_config().opt_binds().at(name).get_priority() >= Option::Priority::REPOCONFIG) {
            ignored.emplace_back(name);
        }
    }
    return ignored;
}


template <typename Option, typename Value>
void set_default(Option & option, const Value & value) {
    if (option.get_priority() <= libdnf5::Option::Priority::DEFAULT) {
        option.set(libdnf5::Option::Priority::RUNTIME, value);
    }
}

}  // namespace


Repositories oci_repositories(Base & base) {
    repo::RepoQuery query(base);
    query.filter_enabled(true);
    query.filter_type(repo::Repo::Type::AVAILABLE);
    Repositories found;
    for (const auto & repo : query) {
        const auto & config = repo->get_config();
        const auto urls = config.get_baseurl_option().get_value();
        if (!has_list(config) && std::ranges::any_of(urls, is_reference)) {
            found.push_back({repo, is_reference(urls.front()) ? urls.front() : "", access_options(*repo)});
        }
    }
    return found;
}


void open(Service & service, const Repository & repository) {
    constexpr auto priority = Option::Priority::RUNTIME;
    auto & config = repository.repo->get_config();
    auto options = repository.access;
    options["ignored"] = sdbus::Variant{ignored_options(*repository.repo)};
    auto urls = config.get_baseurl_option().get_value();
    Address address;
    for (auto & url : urls) {
        if (is_reference(url)) {
            address = service.open_repository(repository.repo->get_id(), url, options);
            url = address.baseurl;
        }
    }
    config.get_baseurl_option().set(priority, urls);
    // A repository has one proxy: dnf5 reaches its other baseurls through the service too.
    config.get_proxy_option().set(priority, address.proxy);
    config.get_proxy_username_option().set(priority, address.proxy_username);
    config.get_proxy_password_option().set(priority, NO_PASSWORD);
    // Without a list of mirrors all downloads count as one mirror's, and the lower of these is the limit.
    set_default(config.get_max_parallel_downloads_option(), PARALLEL_DOWNLOADS);
    set_default(config.get_max_downloads_per_mirror_option(), PARALLEL_DOWNLOADS);
    config.get_timeout_option().set(priority, TIMEOUT);
    config.get_minrate_option().set(priority, MINRATE);
}

}  // namespace dnf5_oci
