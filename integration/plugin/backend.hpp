// The service, as the plugin sees it.

#pragma once

#include "process.hpp"

#include <sdbus-c++/sdbus-c++.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace dnf5_oci {

/// A dictionary of options; dbus/ says which there are.
using Options = std::map<std::string, sdbus::Variant>;

/// Location, checksum and size, as FetchPackages takes them.
using Package = sdbus::Struct<std::string, std::string, std::uint64_t>;

/// What every call says about a repository.
struct Repository {
    std::string id;
    std::string reference;
    std::string cache_dir;
};

/// How dnf5 reaches a repository by itself.
struct Address {
    std::string baseurl;
    std::string proxy;
    std::string proxy_username;
};

/// One signal of progress.
struct Report {
    std::uint64_t job;
    std::string item;
    std::uint64_t received;
    std::uint64_t total;
    bool finished;
};

/// A call that has failed.
struct Failure {
    std::uint64_t job;
    std::string line;
};

/// What the user sees of an error.
std::string line_of(const sdbus::Error & error);

/// A connection to the service. Calls are made all at once and awaited together. Dropping it cancels
/// those that have not been answered.
class Backend {
public:
    /// Connects to the service on the system bus, which starts it if need be.
    /// @throws sdbus::Error if there is none
    static std::unique_ptr<Backend> on_system_bus();

    /// Starts a private instance.
    /// @throws std::exception if it cannot be started
    static std::unique_ptr<Backend> start_private(const std::string & program);

    /// Whether the service on the system bus has the same directory under the same name. It has not when
    /// the bus is that of a host and we are in a chroot or a container of it, or the other way round.
    /// @throws sdbus::Error if the bus does not say where the service is
    bool shares(const std::string & directory);

    /// @return the job's number, which its reports and its failure carry
    std::uint64_t prefetch_repodata(const Repository & repository, const Options & options);

    /// @return as above
    std::uint64_t fetch_packages(
        const Repository & repository, const std::vector<Package> & packages, const Options & options);

    /// Has the service serve a repository to dnf5, for as long as this object lives.
    /// @throws sdbus::Error if it does not
    Address open_repository(const std::string & id, const std::string & reference, const Options & options);

    /// What could not be served since this was called last, each as a line for the user.
    /// @throws sdbus::Error if the service does not answer
    std::vector<std::string> take_failures();

    /// Waits until all calls have been answered. Both functions are called in between, in this thread,
    /// and give up waiting by returning false; the connection is of no use then and must be dropped.
    /// @return whether all calls have been answered
    /// @throws sdbus::Error, std::system_error if the connection fails
    bool wait(
        const std::function<bool(const Report &)> & on_progress,
        const std::function<bool(const Failure &)> & on_failure);

private:
    Backend(std::unique_ptr<Process> process, std::unique_ptr<sdbus::IConnection> bus, const sdbus::ServiceName & name);

    template <typename Result, typename... Arguments>
    std::uint64_t call(const char * method, Options options, const Arguments &... arguments);

    void wait_for_data();

    // The first, so that it goes last: it ends when the connection is closed.
    std::unique_ptr<Process> process;
    std::unique_ptr<sdbus::IConnection> connection;
    std::unique_ptr<sdbus::IProxy> proxy;
    std::uint64_t jobs{0};
    std::size_t pending{0};
    std::vector<Report> reports;
    std::vector<Failure> failures;
};

}  // namespace dnf5_oci
