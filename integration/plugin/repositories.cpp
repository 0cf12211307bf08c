#include "repositories.hpp"

#include "progress.hpp"

#include <libdnf5/repo/config_repo.hpp>
#include <libdnf5/repo/repo_query.hpp>

#include <algorithm>
#include <utility>

namespace dnf5_oci {

using namespace libdnf5;

namespace {

constexpr const char * SCHEME{"oci://"};

// Options of a repository in dnf's terms and in the service's.
constexpr std::pair<const char *, const char *> PASSED_ON[]{
    {"username", "username"},
    {"password", "password"},
    {"sslcacert", "ca-cert"},
    {"sslclientcert", "client-cert"},
    {"sslclientkey", "client-key"},
    {"proxy", "proxy"},
    {"proxy_username", "proxy-username"},
    {"proxy_password", "proxy-password"}};

// Those that the service has nothing like.
constexpr const char * IGNORED[]{
    "ip_resolve",
    "proxy_auth_method",
    "proxy_sslcacert",
    "proxy_sslclientcert",
    "proxy_sslclientkey",
    "proxy_sslverify"};


/// Whether dnf5 takes its addresses from a list that it fetches, and never looks at baseurl.
bool has_list(const repo::ConfigRepo & config) {
    const auto is_set = [](const OptionString & option) { return !option.empty() && !option.get_value().empty(); };
    return is_set(config.get_metalink_option()) || is_set(config.get_mirrorlist_option());
}

}  // namespace


Repositories oci_repositories(Base & base) {
    repo::RepoQuery query(base);
    query.filter_enabled(true);
    query.filter_type(repo::Repo::Type::AVAILABLE);
    Repositories found;
    for (const auto & repository : query) {
        if (!reference_of(*repository).empty()) {
            found.push_back(repository);
        }
    }
    return found;
}


bool is_reference(const std::string & url) {
    return url.starts_with(SCHEME);
}


std::string reference_of(const repo::Repo & repository) {
    const auto & config = repository.get_config();
    if (has_list(config)) {
        return "";
    }
    const auto urls = config.get_baseurl_option().get_value();
    const auto found = std::ranges::find_if(urls, is_reference);
    return found == urls.end() ? "" : *found;
}


Options access_options(repo::Repo & repository) {
    Options options;
    if (!repository.get_config().get_sslverify_option().get_value()) {
        options["tls-verify"] = sdbus::Variant{false};
    }
    auto & all = repository.get_config().opt_binds();
    for (const auto & [dnf, service] : PASSED_ON) {
        const auto & option = all.at(dnf);
        if (option.get_priority() > Option::Priority::DEFAULT && !option.get_value_string().empty()) {
            options[service] = sdbus::Variant{option.get_value_string()};
        }
    }
    // The one that dnf5 works for, which need not be the machine's.
    const auto vars = repository.get_base()->get_vars();
    if (vars->contains("basearch")) {
        options["arch"] = sdbus::Variant{vars->get_value("basearch")};
    }
    return options;
}


std::vector<std::string> ignored_options(repo::Repo & repository) {
    std::vector<std::string> ignored;
    for (const auto * name : IGNORED) {
        // What is set for all repositories is meant for others.
        if (repository.get_config().opt_binds().at(name).get_priority() >= Option::Priority::REPOCONFIG) {
            ignored.emplace_back(name);
        }
    }
    return ignored;
}


void warn(Base & base, const std::string & line) {
    base.get_logger()->warning("{}", line);
    Bars bars(base);
    bars.fail(0, "dnf5-oci", line);
}

}  // namespace dnf5_oci
