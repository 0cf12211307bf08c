// Everything before the question: metadata when repositories are set up, packages when a transaction
// has been resolved.

#pragma once

#include "backend.hpp"
#include "repositories.hpp"

#include <libdnf5/base/base.hpp>
#include <libdnf5/base/transaction.hpp>
#include <libdnf5/plugin/iplugin.hpp>
#include <libdnf5/rpm/package.hpp>

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace dnf5_oci {

/// Makes dnf5 stop, with one line.
class Stop : public std::runtime_error, public libdnf5::plugin::StopRequest {
public:
    using std::runtime_error::runtime_error;
};

/// Packages by the id of their repository.
using Packages = std::map<std::string, std::vector<libdnf5::rpm::Package>>;

/// What a transaction wants from such repositories; nothing if dnf5 will not carry it out.
Packages inbound_packages(const libdnf5::base::Transaction & transaction);

/// Has the service bring DNF's cached metadata up to date, of all repositories at the same time. What
/// fails is shown and logged, and otherwise left as it is.
/// @throws std::exception if the service fails altogether or the user gives up
void prefetch(libdnf5::Base & base, Backend & service, const Repositories & repositories);

/// Has the service put packages into DNF's cache, all at the same time.
/// @throws Stop at the first failure
/// @throws std::exception if the service fails altogether
void fetch(libdnf5::Base & base, Backend & service, const Packages & packages);

}  // namespace dnf5_oci
