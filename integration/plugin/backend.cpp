#include "backend.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>
#include <limits>
#include <system_error>

extern char ** environ;

namespace dnf5_oci {

namespace {

const sdbus::ServiceName NAME{"io.github.dnf5_oci"};
const sdbus::ObjectPath PATH{"/io/github/dnf5_oci"};
const sdbus::InterfaceName INTERFACE{"io.github.dnf5_oci.Backend1"};

constexpr const char * ERRORS{"io.github.dnf5_oci.Error."};

// The service notices by itself when a registry sends nothing; a large package just takes long.
constexpr auto NO_TIMEOUT = std::numeric_limits<std::uint64_t>::max();

// The descriptor that a private instance finds its socket at.
constexpr int PRIVATE_FD = 3;

[[noreturn]] void fail(int error, const char * what) {
    throw std::system_error(error, std::generic_category(), what);
}

/// What the user sees of an error. Those of the service are whole lines; others come from the bus, or
/// from the end of the connection.
std::string line(const sdbus::Error & error) {
    if (error.getName().starts_with(ERRORS)) {
        return error.getMessage();
    }
    return "the dnf5-oci service failed: " + error.getMessage() + "; run dnf5 again, and see its log";
}

/// Starts a private instance with `socket` as its only business.
pid_t spawn(int socket) {
    const std::string fd = std::to_string(PRIVATE_FD);
    const char * const arguments[] = {SERVICE, "serve", "--fd", fd.c_str(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, socket, PRIVATE_FD);
    pid_t process = -1;
    const int error =
        posix_spawn(&process, SERVICE, &actions, nullptr, const_cast<char * const *>(arguments), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
        fail(error, "starting " SERVICE);
    }
    return process;
}

}  // namespace


std::unique_ptr<Backend> Backend::on_system_bus() {
    auto connection = sdbus::createSystemBusConnection();
    // Starts the service if need be; whether it answers is known before anything depends on it.
    auto proxy = sdbus::createProxy(*connection, NAME, PATH);
    [[maybe_unused]] const auto version = proxy->getProperty("Version").onInterface(INTERFACE);
    proxy.reset();
    return std::unique_ptr<Backend>(new Backend(std::move(connection), NAME, -1));
}


std::unique_ptr<Backend> Backend::start_private() {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
        fail(errno, "socketpair");
    }
    pid_t process = -1;
    try {
        process = spawn(sockets[1]);
    } catch (...) {
        close(sockets[0]);
        close(sockets[1]);
        throw;
    }
    close(sockets[1]);
    return std::unique_ptr<Backend>(
        new Backend(sdbus::createDirectBusConnection(sockets[0]), sdbus::ServiceName{}, process));
}


Backend::Backend(std::unique_ptr<sdbus::IConnection> bus, const sdbus::ServiceName & name, pid_t process)
    : connection(std::move(bus)),
      proxy(sdbus::createProxy(*connection, name, PATH)),
      process(process) {
    proxy->uponSignal("Progress")
        .onInterface(INTERFACE)
        .call([this](
                  std::uint64_t job,
                  const std::string & item,
                  std::uint64_t received,
                  std::uint64_t total,
                  bool finished) { reports.push_back({job, item, received, total, finished}); });
}


Backend::~Backend() {
    proxy.reset();
    connection.reset();
    // A private instance ends when its socket is closed.
    while (process > 0 && waitpid(process, nullptr, 0) < 0 && errno == EINTR) {
    }
}


template <typename Result, typename... Arguments>
void Backend::call(const char * method, Outcome outcome, const Arguments &... arguments) {
    ++pending;
    proxy->callMethodAsync(method)
        .onInterface(INTERFACE)
        .withTimeout(NO_TIMEOUT)
        .withArguments(arguments...)
        .uponReplyInvoke([this, outcome = std::move(outcome)](std::optional<sdbus::Error> error, const Result &) {
            --pending;
            outcome(error ? std::optional(line(*error)) : std::nullopt);
        });
}


void Backend::prefetch_repodata(
    const std::string & repo_id,
    const std::string & reference,
    const std::string & cache_dir,
    const Options & options,
    Outcome outcome) {
    call<Options>("PrefetchRepodata", std::move(outcome), repo_id, reference, cache_dir, options);
}


void Backend::fetch_packages(
    const std::string & repo_id,
    const std::string & reference,
    const std::string & cache_dir,
    const std::vector<Package> & packages,
    const Options & options,
    Outcome outcome) {
    call<std::vector<std::string>>(
        "FetchPackages", std::move(outcome), repo_id, reference, cache_dir, packages, options);
}


bool Backend::wait(const std::function<bool(const Report &)> & on_progress) {
    while (pending > 0) {
        const bool more = connection->processPendingEvent();
        for (const auto & report : std::exchange(reports, {})) {
            if (on_progress(report)) {
                return false;
            }
        }
        if (more || pending == 0) {
            continue;
        }
        const auto data = connection->getEventLoopPollData();
        pollfd fds[] = {{data.fd, data.events, 0}, {data.eventFd, POLLIN, 0}};
        if (poll(fds, std::size(fds), data.getPollTimeout()) < 0 && errno != EINTR) {
            fail(errno, "poll");
        }
    }
    return true;
}

}  // namespace dnf5_oci
