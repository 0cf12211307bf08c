#include "repositories.hpp"

#include <libdnf5/repo/config_repo.hpp>
#include <libdnf5/repo/repo_query.hpp>
#include <strings.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace dnf5_oci {

using namespace libdnf5;

namespace {

constexpr std::string_view SCHEME{"oci://"};

// An error name of the service, which line_of() expects with a complete line.
const sdbus::Error::Name INVALID_SETTINGS{"io.github.dnf5_oci.Error.InvalidSettings"};

constexpr std::string_view PROXY{"proxy"};

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

// The variables that libcurl takes a proxy from. The service on the system bus has another environment.
constexpr const char * PROXY_VARIABLES[]{
    "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"};

// Options that the service has no equivalent for.
constexpr const char * IGNORED[]{
    "ip_resolve",
    "proxy_auth_method",
    "proxy_sslcacert",
    "proxy_sslclientcert",
    "proxy_sslclientkey",
    "proxy_sslverify"};

// dnf5's default of three spares public mirrors. The service decides how many requests the registry gets; this is
// the most that dnf5 allows.
constexpr const char * PARALLEL_DOWNLOADS{"20"};

// For dnf5's connection to the service, in seconds. A package inside a large layer arrives after the whole layer
// has been read, with silence before it. The service applies the user's values to the registry.
constexpr std::int32_t TIMEOUT{3600};
constexpr std::uint32_t MINRATE{1};

// The service ignores the password, but libcurl sends no user name without one.
constexpr const char * NO_PASSWORD{"-"};

// The beginning of the URLs that dnf5 shows for files of our repositories.
constexpr const char * SERVED{"http://dnf5-oci.alt/"};

// The id for files that belong to no repository; libdnf5 has the same for the repository of such packages.
constexpr const char * COMMAND_LINE{"@commandline"};


/// Whether D-Bus can carry a string: it must be UTF-8.
bool is_text(const std::string & value) try {
    [[maybe_unused]] const sdbus::Variant variant{value};
    return true;
} catch (const sdbus::Error &) {
    return false;
}


/// The line for the user about a value that D-Bus cannot carry. It does not show the value.
std::string not_text(const std::string & what) {
    return what + " is not valid UTF-8; correct it";
}


/// Whether dnf5 fetches a list of addresses and ignores baseurl.
bool has_list(const repo::ConfigRepo & config) {
    const auto is_set = [](const OptionString & option) { return !option.empty() && !option.get_value().empty(); };
    return is_set(config.get_metalink_option()) || is_set(config.get_mirrorlist_option());
}


std::map<std::string, std::string> proxy_variables() {
    std::map<std::string, std::string> variables;
    for (const auto * name : PROXY_VARIABLES) {
        if (const char * value = std::getenv(name)) {
            variables[name] = value;
        }
    }
    return variables;
}


/// @param[out] refusal  why the repository cannot be opened
Options access_options(repo::Repo & repo, std::string & refusal) {
    Options options;
    if (!repo.get_config().get_sslverify_option().get_value()) {
        options["tls-verify"] = sdbus::Variant{false};
    }
    auto & all = repo.get_config().opt_binds();
    for (const auto & [dnf, service] : PASSED_ON) {
        const auto & option = all.at(dnf);
        if (option.get_priority() <= Option::Priority::DEFAULT) {
            continue;
        }
        const auto value = option.get_value_string();
        if (!is_text(value)) {
            refusal = not_text(std::string("option ") + dnf);
        } else if (!value.empty() || dnf == PROXY) {
            // An empty proxy is none, whatever the environment says.
            options[service] = sdbus::Variant{value};
        }
    }
    auto variables = proxy_variables();
    for (const auto & [name, value] : variables) {
        if (!is_text(value)) {
            refusal = not_text("environment variable " + name);
        }
    }
    if (refusal.empty() && !variables.empty()) {
        options["environment"] = sdbus::Variant{variables};
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


/// Sets an option that has its default value. By its name, since not every libdnf5 has each:
/// max_downloads_per_mirror is in 5.3 and newer.
void set_default(repo::ConfigRepo & config, const std::string & name, const std::string & value) {
    auto & all = config.opt_binds();
    const auto found = all.find(name);
    if (found != all.end() && found->second.get_priority() <= Option::Priority::DEFAULT) {
        found->second.new_string(Option::Priority::RUNTIME, value);
    }
}


template <typename Config>
void use_proxy(Config & config, const Proxy & proxy) {
    constexpr auto priority = Option::Priority::RUNTIME;
    config.get_proxy_option().set(priority, proxy.url);
    config.get_proxy_username_option().set(priority, proxy.username);
    config.get_proxy_password_option().set(priority, proxy.password);
}


Proxy service_proxy(const Address & address) {
    return {address.proxy, address.proxy_username, NO_PASSWORD};
}


/// The value of an option; libdnf5 takes an empty one like none.
std::string value(const OptionString & option) {
    return option.empty() ? std::string{} : option.get_value();
}


/// The options of the repository that a file belongs to, if it is configured.
Options access_options(const Repositories & repositories, const std::string & url) {
    for (const auto & repository : repositories) {
        const auto baseurls = repository.repo->get_config().get_baseurl_option().get_value();
        const auto is_parent = [&url](const auto & baseurl) { return url.starts_with(baseurl + "/"); };
        if (std::ranges::any_of(baseurls, is_parent)) {
            return repository.access;
        }
    }
    return {};
}

}  // namespace


bool is_reference(const std::string & url) {
    return strncasecmp(url.c_str(), SCHEME.data(), SCHEME.size()) == 0;
}


Repositories oci_repositories(Base & base) {
    repo::RepoQuery query(base);
    query.filter_enabled(true);
    query.filter_type(repo::Repo::Type::AVAILABLE);
    Repositories found;
    for (const auto & repo : query) {
        const auto & config = repo->get_config();
        const auto urls = config.get_baseurl_option().get_value();
        if (!has_list(config) && std::ranges::any_of(urls, is_reference)) {
            std::string refusal;
            auto access = access_options(*repo, refusal);
            if (!std::ranges::all_of(urls, is_text)) {
                refusal = not_text("option baseurl");
            }
            const auto reference = is_reference(urls.front()) ? urls.front() : "";
            found.push_back({repo, reference, std::move(access), std::move(refusal)});
        }
    }
    return found;
}


Options metadata_options(const Repository & repository) {
    auto options = repository.access;
    const std::int64_t max_age = repository.repo->get_config().get_metadata_expire_option().get_value();
    options["max-age"] = sdbus::Variant{max_age};
    if (const auto file = repository.repo->get_repo_file_path(); !file.empty()) {
        options["repo-file"] = sdbus::Variant{file};
    }
    return options;
}


void open(Service & service, const Repository & repository) {
    if (!repository.refusal.empty()) {
        throw sdbus::Error(INVALID_SETTINGS, "repository " + repository.repo->get_id() + ": " + repository.refusal);
    }
    constexpr auto priority = Option::Priority::RUNTIME;
    auto & config = repository.repo->get_config();
    auto options = repository.access;
    options["ignored"] = sdbus::Variant{ignored_options(*repository.repo)};
    const auto id = repository.repo->get_id();
    auto urls = config.get_baseurl_option().get_value();
    // dnf5 names a repository's cache directory after the first.
    options["cachedir"] = sdbus::Variant{repository.repo->get_base()->get_config().get_cachedir_option().get_value()};
    Address address;
    for (auto & url : urls) {
        if (is_reference(url)) {
            address = service.open_repository(id, url, options);
            url = address.url;
        }
        options.erase("cachedir");
    }
    config.get_baseurl_option().set(priority, urls);
    // A repository has one proxy: dnf5 reaches its other baseurls through the service too.
    use_proxy(config, service_proxy(address));
    // Without a list of mirrors all downloads count as one mirror's, and the lower of these is the limit.
    set_default(config, "max_parallel_downloads", PARALLEL_DOWNLOADS);
    set_default(config, "max_downloads_per_mirror", PARALLEL_DOWNLOADS);
    config.get_timeout_option().set(priority, TIMEOUT);
    config.get_minrate_option().set(priority, MINRATE);
}


bool is_served(const std::string & url) {
    return url.starts_with(SERVED);
}


Proxy open_files(
    Base & base, Service & service, const Repositories & repositories, const std::vector<std::string> & urls) {
    Address address;
    for (const auto & url : urls) {
        address = service.open_file(COMMAND_LINE, url, access_options(repositories, url));
    }
    auto & config = base.get_config();
    const Proxy own{
        value(config.get_proxy_option()),
        value(config.get_proxy_username_option()),
        value(config.get_proxy_password_option())};
    use_proxy(config, service_proxy(address));
    return own;
}


void restore(Base & base, const Proxy & proxy) {
    use_proxy(base.get_config(), proxy);
}

}  // namespace dnf5_oci
