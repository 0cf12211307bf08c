// Content when dnf5 asks for it: it fetches by itself, from the service's gateway.

#pragma once

#include "backend.hpp"
#include "repositories.hpp"

#include <libdnf5/base/base.hpp>

namespace dnf5_oci {

/// Has the service serve the repositories, and dnf5 look for them there. Nothing is fetched. One that
/// cannot be served is shown and logged, and has nothing but its cache.
/// @return whether any is served
bool open(libdnf5::Base & base, Backend & service, const Repositories & repositories);

/// Shows and logs what could not be served, where dnf5 has gone on all the same.
/// @throws sdbus::Error if the service has gone, and what it had to say with it
void show_failures(libdnf5::Base & base, Backend & service);

/// Prints what could not be served, where dnf5 has stopped: its own message says no more than an address
/// and a status. There is no progress bar and no log to write to any more.
/// @throws sdbus::Error as above
void print_failures(Backend & service);

}  // namespace dnf5_oci
