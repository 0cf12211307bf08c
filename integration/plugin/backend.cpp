#include "backend.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

namespace dnf5_oci {

namespace {

const sdbus::ServiceName NAME{"io.github.dnf5_oci"};
const sdbus::ObjectPath PATH{"/io/github/dnf5_oci"};
const sdbus::InterfaceName INTERFACE{"io.github.dnf5_oci.Backend1"};

constexpr const char * ERRORS{"io.github.dnf5_oci.Error."};

// How long the bus may take to start the service.
constexpr std::chrono::seconds START_TIMEOUT{15};

// The service notices by itself when a registry sends nothing; a large package just takes long.
constexpr auto NO_TIMEOUT = std::numeric_limits<std::uint64_t>::max();

[[noreturn]] void fail(const char * what) {
    throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace


std::string line_of(const sdbus::Error & error) {
    // Those of the service are whole lines; others come from the bus, or from the end of the connection.
    if (error.getName().starts_with(ERRORS)) {
        return error.getMessage();
    }
    return "the dnf5-oci service failed: " + error.getMessage() + "; run dnf5 again, and see its log";
}


std::unique_ptr<Backend> Backend::on_system_bus() {
    auto connection = sdbus::createSystemBusConnection();
    connection->setMethodCallTimeout(START_TIMEOUT);
    std::unique_ptr<Backend> backend(new Backend(nullptr, std::move(connection), NAME));
    // Whether it answers is known before anything depends on it.
    [[maybe_unused]] const auto version = backend->proxy->getProperty("Version").onInterface(INTERFACE);
    return backend;
}


std::unique_ptr<Backend> Backend::start_private(const std::string & program) {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
        fail("socketpair");
    }
    sdbus::UnixFd ours{sockets[0], sdbus::adopt_fd};
    sdbus::UnixFd theirs{sockets[1], sdbus::adopt_fd};
    auto process = std::make_unique<Process>(program, theirs.get());
    // If it ends early, the socket must be closed for us to notice.
    theirs = {};
    auto connection = sdbus::createDirectBusConnection(ours.get());
    ours.release();
    return std::unique_ptr<Backend>(new Backend(std::move(process), std::move(connection), sdbus::ServiceName{}));
}


Backend::Backend(
    std::unique_ptr<Process> process, std::unique_ptr<sdbus::IConnection> bus, const sdbus::ServiceName & name)
    : process(std::move(process)),
      connection(std::move(bus)),
      proxy(sdbus::createProxy(*connection, name, PATH)) {
    proxy->uponSignal("Progress")
        .onInterface(INTERFACE)
        .call([this](
                  std::uint64_t job,
                  const std::string & item,
                  std::uint64_t received,
                  std::uint64_t total,
                  bool finished) { reports.push_back({job, item, received, total, finished}); });
}


bool Backend::shares(const std::string & directory) {
    auto bus = sdbus::createProxy(
        *connection, sdbus::ServiceName{"org.freedesktop.DBus"}, sdbus::ObjectPath{"/org/freedesktop/DBus"});
    std::uint32_t process = 0;
    bus->callMethod("GetConnectionUnixProcessID")
        .onInterface("org.freedesktop.DBus")
        .withArguments(static_cast<const std::string &>(NAME))
        .storeResultsTo(process);
    std::error_code error;
    return std::filesystem::equivalent("/proc/" + std::to_string(process) + "/root" + directory, directory, error);
}


template <typename Result, typename... Arguments>
std::uint64_t Backend::call(const char * method, Options options, const Arguments &... arguments) {
    const auto job = ++jobs;
    options["job"] = sdbus::Variant{job};
    proxy->callMethodAsync(method)
        .onInterface(INTERFACE)
        .withTimeout(NO_TIMEOUT)
        .withArguments(arguments..., options)
        .uponReplyInvoke([this, job](std::optional<sdbus::Error> error, const Result &) {
            --pending;
            if (error) {
                failures.push_back({job, line_of(*error)});
            }
        });
    ++pending;
    return job;
}


std::uint64_t Backend::prefetch_repodata(const Repository & repository, const Options & options) {
    return call<Options>("PrefetchRepodata", options, repository.id, repository.reference, repository.cache_dir);
}


std::uint64_t Backend::fetch_packages(
    const Repository & repository, const std::vector<Package> & packages, const Options & options) {
    return call<std::vector<std::string>>(
        "FetchPackages", options, repository.id, repository.reference, repository.cache_dir, packages);
}


Address Backend::open_repository(const std::string & id, const std::string & reference, const Options & options) {
    Address address;
    proxy->callMethod("OpenRepository")
        .onInterface(INTERFACE)
        .withArguments(id, reference, options)
        .storeResultsTo(address.baseurl, address.proxy, address.proxy_username);
    return address;
}


std::vector<std::string> Backend::take_failures() {
    std::vector<std::string> lines;
    proxy->callMethod("TakeFailures").onInterface(INTERFACE).storeResultsTo(lines);
    return lines;
}


bool Backend::wait(
    const std::function<bool(const Report &)> & on_progress, const std::function<bool(const Failure &)> & on_failure) {
    while (true) {
        for (const auto & report : std::exchange(reports, {})) {
            if (!on_progress(report)) {
                return false;
            }
        }
        for (const auto & failure : std::exchange(failures, {})) {
            if (!on_failure(failure)) {
                return false;
            }
        }
        if (pending == 0) {
            return true;
        }
        if (!connection->processPendingEvent()) {
            wait_for_data();
        }
    }
}


void Backend::wait_for_data() {
    const auto data = connection->getEventLoopPollData();
    pollfd fds[] = {{data.fd, data.events, 0}, {data.eventFd, POLLIN, 0}};
    if (poll(fds, std::size(fds), data.getPollTimeout()) < 0 && errno != EINTR) {
        fail("poll");
    }
}

}  // namespace dnf5_oci
