// The repositories in registries, and how dnf5 reaches them through the service.

#pragma once

#include "service.hpp"

#include <libdnf5/base/base.hpp>
#include <libdnf5/repo/repo.hpp>

#include <string>
#include <vector>

namespace dnf5_oci {

/// A repository with a baseurl oci://…, as it was configured.
struct Repository {
    libdnf5::repo::RepoWeakPtr repo;
    /// The first baseurl if that is oci://…, otherwise empty: dnf5 asks the first one first.
    std::string reference;
    /// How the registry is reached, as options of the service's methods.
    Options access;
    /// Why it cannot be opened, as a line for the user; usually empty.
    std::string refusal;
};

using Repositories = std::vector<Repository>;

/// Whether a URL is oci://…
bool is_reference(const std::string & url);

/// The enabled repositories with a baseurl oci://…, unless a mirrorlist or a metalink overrides it.
Repositories oci_repositories(libdnf5::Base & base);

/// The options for what is kept in the cache for as long as the repository's metadata.
Options metadata_options(const Repository & repository);

/// Has the service serve a repository, and points dnf5 there. Fetches nothing.
/// @throws sdbus::Error if the service refuses, or an option cannot be passed on
void open(Service & service, const Repository & repository);

/// A proxy, as dnf5 has it in its options.
struct Proxy {
    std::string url;
    std::string username;
    std::string password;
};

/// Whether this is a URL that dnf5 shows for a file of a repository in a registry.
bool is_served(const std::string & url);

/// Has the service serve such files, and points dnf5 there for those on its command line.
/// @return dnf5's own proxy
/// @throws sdbus::Error if the service refuses
Proxy open_files(
    libdnf5::Base & base, Service & service, const Repositories & repositories, const std::vector<std::string> & urls);

/// Gives dnf5 its own proxy back.
void restore(libdnf5::Base & base, const Proxy & proxy);

}  // namespace dnf5_oci
