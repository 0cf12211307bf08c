// The connection to the service.

#pragma once

#include "process.hpp"

#include <sdbus-c++/sdbus-c++.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dnf5_oci {

/// Options of a method; see the interface's description in dbus/.
using Options = std::map<std::string, sdbus::Variant>;

/// Location, checksum and size of a package, as FetchPackages takes them.
using Package = sdbus::Struct<std::string, std::string, std::uint64_t>;

/// A repository and where its content goes.
struct Target {
    std::string id;
    std::string reference;
    std::string cache_dir;
};

/// How dnf5 reaches a repository or a file through the service.
struct Address {
    std::string url;
    std::string proxy;
    std::string proxy_username;
};

/// One Progress signal.
struct Report {
    std::uint64_t job;
    std::string item;
    std::uint64_t received;
    std::uint64_t total;
    bool finished;
};

/// The line that the user sees for an error.
std::string line_of(const sdbus::Error & error);

/// A connection to the service. Closing it cancels the calls that are still running.
class Service {
public:
    /// Called with the reply to a call: an error, or nothing if it has succeeded.
    using OnReply = std::function<void(const std::optional<sdbus::Error> & error)>;

    /// Connects to the service on the system bus, which starts it on demand.
    /// @param start_timeout  how long it may take to start
    /// @throws sdbus::Error if there is none
    static std::unique_ptr<Service> on_system_bus(std::chrono::seconds start_timeout);

    /// Starts a private instance.
    /// @throws std::exception if it cannot be started
    static std::unique_ptr<Service> start_private(const std::string & program);

    /// Whether the service on the system bus sees the same directory under this path. It does not if
    /// one of us is in a chroot or a container and the other is not.
    /// @throws sdbus::Error if the bus does not know the service's process
    bool shares(const std::string & directory);

    /// Begins to bring DNF's cached metadata up to date. The reply arrives in wait().
    void prefetch_repodata(const Target & target, const Options & options, OnReply on_reply);

    /// Begins to put packages into DNF's cache. The reply arrives in wait().
    void fetch_packages(
        const Target & target, const std::vector<Package> & packages, const Options & options, OnReply on_reply);

    /// Has the service serve a repository to dnf5 for as long as this object lives.
    /// @throws sdbus::Error if it refuses
    Address open_repository(const std::string & id, const std::string & reference, const Options & options);

    /// Tells which packages of an open repository dnf5 is going to download if the user agrees.
    /// @throws sdbus::Error if the service does not know the method, or does not answer soon
    void announce_packages(const std::string & id, const std::vector<Package> & packages);

    /// Puts a file of an artifact into DNF's cache, unless it is there.
    /// @return its path
    /// @throws sdbus::Error if that fails
    std::string fetch_file(
        const std::string & id, const std::string & url, const std::string & cache_dir, const Options & options);

    /// Has the service serve a file of an artifact to dnf5 for as long as this object lives.
    /// @throws sdbus::Error if it refuses
    Address open_file(const std::string & id, const std::string & url, const Options & options);

    /// Returns a line for the user for each failure to serve dnf5 since the last call.
    /// @throws sdbus::Error if the service does not answer
    std::vector<std::string> take_failures();

    /// Waits for the replies to all calls, and passes on replies and progress in this thread.
    /// @param on_progress  cancels by returning false; the connection must be closed then
    /// @return whether all replies have arrived
    /// @throws sdbus::Error, std::system_error if the connection fails
    bool wait(const std::function<bool(const Report &)> & on_progress);

private:
    Service(std::unique_ptr<Process> process, std::unique_ptr<sdbus::IConnection> bus, const sdbus::ServiceName & name);

    template <typename Result, typename... Arguments>
    void call(const char * method, OnReply on_reply, const Arguments &... arguments);

    Address open(const char * method, const std::string & id, const std::string & url, const Options & options);

    void wait_for_data();

    // Destroyed last: the instance ends when the connection is closed.
    std::unique_ptr<Process> process;
    std::unique_ptr<sdbus::IConnection> connection;
    std::unique_ptr<sdbus::IProxy> proxy;
    std::size_t pending{0};
    std::vector<Report> reports;
};

}  // namespace dnf5_oci
