// The repositories that are in registries, and what their configuration says.
#pragma once

#include "backend.hpp"

#include <libdnf5/base/base.hpp>
#include <libdnf5/repo/repo.hpp>

#include <string>
#include <vector>

namespace dnf5_oci {

using Repositories = std::vector<libdnf5::repo::RepoWeakPtr>;

/// The enabled repositories that have a baseurl oci://….
Repositories oci_repositories(libdnf5::Base & base);

/// Whether an address is oci://….
bool is_reference(const std::string & url);

/// The first oci://… among a repository's baseurls; nothing if there is none, or if dnf5 has a mirrorlist or
/// a metalink and so does not look at them.
std::string reference_of(const libdnf5::repo::Repo & repository);

/// What its configuration says about reaching it.
Options access_options(libdnf5::repo::Repo & repository);

/// What its configuration says without any effect.
std::vector<std::string> ignored_options(libdnf5::repo::Repo & repository);

/// Shows and logs a line that belongs to no repository in particular.
void warn(libdnf5::Base & base, const std::string & line);

}  // namespace dnf5_oci
