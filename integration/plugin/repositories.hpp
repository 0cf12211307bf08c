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

/// The enabled repositories with a baseurl oci://…, unless a mirrorlist or a metalink overrides it.
Repositories oci_repositories(libdnf5::Base & base);

/// Has the service serve a repository, and points dnf5 there. Fetches nothing.
/// @throws sdbus::Error if the service refuses, or an option cannot be passed on
void open(Service & service, const Repository & repository);

}  // namespace dnf5_oci
