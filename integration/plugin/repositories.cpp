#include "repositories.hpp"

#include "progress.hpp"

#include <libdnf5/repo/repo_query.hpp>

namespace dnf5_oci {

using namespace libdnf5;

namespace {

constexpr const char * SCHEME{"oci://"};

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


std::string reference_of(const repo::Repo & repository) {
    const auto urls = repository.get_config().get_baseurl_option().get_value();
    return !urls.empty() && urls.front().starts_with(SCHEME) ? urls.front() : "";
}


Options access_options(const repo::Repo & repository) {
    Options options;
    if (!repository.get_config().get_sslverify_option().get_value()) {
        options["tls-verify"] = sdbus::Variant{false};
    }
    return options;
}


void warn(Base & base, const std::string & line) {
    base.get_logger()->warning("{}", line);
    Bars bars(base);
    bars.fail(0, "dnf5-oci", line);
}

}  // namespace dnf5_oci
