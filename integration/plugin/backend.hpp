// The service, as the plugin sees it.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include <sdbus-c++/sdbus-c++.h>

namespace dnf5_oci {

using Options = std::map<std::string, sdbus::Variant>;

/// Location, checksum and size, as FetchPackages takes them.
using Package = sdbus::Struct<std::string, std::string, std::uint64_t>;

/// Which instance is used; oci.conf(backend).
enum class Choice { AUTO, SYSTEM, PRIVATE };

/// One signal of progress.
struct Report {
    std::uint64_t job;
    std::string item;
    std::uint64_t received;
    std::uint64_t total;
    bool finished;
};

/// A connection to the service. Calls are made all at once and awaited together; signals of progress
/// are handed over in between, in the thread that waits.
class Backend {
public:
    /// The error of a call, or nothing.
    using Outcome = std::function<void(const std::optional<std::string> & error)>;

    /// Connects to the service on the system bus.
    /// @throws sdbus::Error if there is none
    static std::unique_ptr<Backend> on_system_bus();

    /// Starts a private instance.
    /// @throws std::exception if it cannot be started
    static std::unique_ptr<Backend> start_private();

    ~Backend();

    void prefetch_repodata(
        const std::string & repo_id,
        const std::string & reference,
        const std::string & cache_dir,
        const Options & options,
        Outcome outcome);

    void fetch_packages(
        const std::string & repo_id,
        const std::string & reference,
        const std::string & cache_dir,
        const std::vector<Package> & packages,
        const Options & options,
        Outcome outcome);

    /// Returns when all calls have been answered.
    /// @param on_progress  is called for each signal; true gives all calls up
    /// @return whether all were answered
    bool wait(const std::function<bool(const Report &)> & on_progress);

private:
    Backend(std::unique_ptr<sdbus::IConnection> bus, const sdbus::ServiceName & name, pid_t process);

    template <typename Result, typename... Arguments>
    void call(const char * method, Outcome outcome, const Arguments &... arguments);

    std::unique_ptr<sdbus::IConnection> connection;
    std::unique_ptr<sdbus::IProxy> proxy;
    std::vector<Report> reports;
    std::size_t pending{0};
    pid_t process;
};

}  // namespace dnf5_oci
