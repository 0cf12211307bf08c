// Keys in artifacts: gpgkey=oci://REFERENCE/PATH. libdnf5 does not use the repository's proxy for keys, so the
// service puts them into DNF's cache.

#pragma once

#include "repositories.hpp"
#include "service.hpp"

#include <libdnf5/base/transaction.hpp>

namespace dnf5_oci {

/// Whether dnf5 needs the keys of a repository to load its metadata.
bool needs_keys(const Repository & repository);

/// Whether dnf5 needs the keys of a repository to install packages of a transaction.
bool needs_keys(const Repository & repository, const libdnf5::base::Transaction & transaction);

/// Points dnf5 to the keys of a repository in its cache.
/// @throws sdbus::Error if one is neither there nor can be fetched
void fetch_keys(Service & service, const Repository & repository);

}  // namespace dnf5_oci
