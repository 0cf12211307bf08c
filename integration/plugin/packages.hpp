// The packages of a transaction that come from repositories, as the service takes them.

#pragma once

#include "repositories.hpp"
#include "service.hpp"

#include <libdnf5/base/base.hpp>
#include <libdnf5/base/transaction.hpp>
#include <libdnf5/rpm/package.hpp>

#include <map>
#include <string>
#include <vector>

namespace dnf5_oci {

/// The packages to be installed, by the ids of their repositories; none if dnf5 will refuse the transaction.
std::map<std::string, std::vector<libdnf5::rpm::Package>> inbound_packages(
    const libdnf5::base::Transaction & transaction);

/// Location, checksum and size of a package.
Package description(const libdnf5::rpm::Package & package);

/// Tells the service which packages of our repositories dnf5 is going to download if the user agrees. It finds them
/// faster then; a failure fails nothing.
void announce_packages(
    libdnf5::Base & base,
    Service & service,
    const Repositories & repositories,
    const libdnf5::base::Transaction & transaction);

}  // namespace dnf5_oci
