// What `fetch = eager` adds: the service fetches into DNF's cache before dnf5 asks. A failure here fails
// no command: it is logged, and dnf5 asks for what is missing.

#pragma once

#include "repositories.hpp"
#include "service.hpp"

#include <libdnf5/base/base.hpp>
#include <libdnf5/base/transaction.hpp>

namespace dnf5_oci {

/// Brings DNF's cached metadata of all repositories up to date, side by side.
void prefetch_metadata(libdnf5::Base & base, Service & service, const Repositories & repositories);

/// Puts the packages that a transaction installs into DNF's cache, side by side.
/// @return whether to go on; false if the user has cancelled, and the connection must be closed
bool prefetch_packages(
    libdnf5::Base & base,
    Service & service,
    const Repositories & repositories,
    const libdnf5::base::Transaction & transaction);

}  // namespace dnf5_oci
