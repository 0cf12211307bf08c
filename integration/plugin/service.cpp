#include "service.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

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

// How long the bus may take to answer.
constexpr std::chrono::seconds BUS_TIMEOUT{1};

// How long the service may take to answer a short call.
constexpr std::chrono::seconds CALL_TIMEOUT{15};

// How long the service may take to note something down.
constexpr std::chrono::seconds NOTE_TIMEOUT{1};

// The service itself notices a registry that sends nothing; a large package takes long.
constexpr auto NO_TIMEOUT = std::numeric_limits<std::uint64_t>::max();

[[noreturn]] void fail(const char * what) {
    throw std::system_error(errno, std::generic_category(), what);
}


void check(int result) {
    if (result < 0) {
        throw sdbus::createError(result, "connecting to the system bus failed");
    }
}


/// Connects to the system bus. sd-bus by itself would wait 90 s for one that accepts connections and is silent.
std::unique_ptr<sdbus::IConnection> system_bus() {
    using std::chrono::steady_clock;
    sd_bus * opened = nullptr;
    check(sd_bus_open_system(&opened));
    std::unique_ptr<sd_bus, decltype(&sd_bus_close_unref)> bus(opened, sd_bus_close_unref);
    const auto deadline = steady_clock::now() + BUS_TIMEOUT;
    for (int ready = 0; (ready = sd_bus_is_ready(bus.get())) <= 0;) {
        check(ready);
        const auto left = std::chrono::duration_cast<std::chrono::microseconds>(deadline - steady_clock::now());
        check(left.count() > 0 ? 0 : -ETIMEDOUT);
        const int processed = sd_bus_process(bus.get(), nullptr);
        check(processed);
        if (processed == 0) {
            check(sd_bus_wait(bus.get(), static_cast<std::uint64_t>(left.count())));
        }
    }
    return sdbus::createBusConnection(bus.release());
}

}  // namespace


std::string line_of(const sdbus::Error & error) {
    // Messages of the service are complete lines; others come from the bus or the connection.
    if (error.getName().starts_with(ERRORS)) {
        return error.getMessage();
    }
    return "the dnf5-oci service failed: " + error.getMessage() + "; run dnf5 again, and see its log";
}


std::unique_ptr<Service> Service::on_system_bus(std::chrono::seconds start_timeout) {
    auto connection = system_bus();
    connection->setMethodCallTimeout(start_timeout);
    std::unique_ptr<Service> service(new Service(nullptr, std::move(connection), NAME));
    // Fails now if the service does not answer.
    [[maybe_unused]] const auto version = service->proxy->getProperty("Version").onInterface(INTERFACE);
    service->connection->setMethodCallTimeout(CALL_TIMEOUT);
    return service;
}


std::unique_ptr<Service> Service::start_private(const std::string & program) {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
        fail("socketpair");
    }
    sdbus::UnixFd ours{sockets[0], sdbus::adopt_fd};
    sdbus::UnixFd theirs{sockets[1], sdbus::adopt_fd};
    auto process = std::make_unique<Process>(program, theirs.get());
    // Otherwise we would not notice the end of the instance.
    theirs = {};
    auto connection = sdbus::createDirectBusConnection(ours.get());
    ours.release();
    return std::unique_ptr<Service>(new Service(std::move(process), std::move(connection), sdbus::ServiceName{}));
}


Service::Service(
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


bool Service::shares(const std::string & directory) {
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
void Service::call(const char * method, OnReply on_reply, const Arguments &... arguments) {
    proxy->callMethodAsync(method)
        .onInterface(INTERFACE)
        .withTimeout(NO_TIMEOUT)
        .withArguments(arguments...)
        .uponReplyInvoke(
            [this, on_reply = std::move(on_reply)](const std::optional<sdbus::Error> & error, const Result &) {
                --pending;
                on_reply(error);
            });
    ++pending;
}


void Service::prefetch_repodata(const Target & target, const Options & options, OnReply on_reply) {
    call<Options>("PrefetchRepodata", std::move(on_reply), target.id, target.reference, target.cache_dir, options);
}


void Service::fetch_packages(
    const Target & target, const std::vector<Package> & packages, const Options & options, OnReply on_reply) {
    call<std::vector<std::string>>(
        "FetchPackages", std::move(on_reply), target.id, target.reference, target.cache_dir, packages, options);
}


Address Service::open(const char * method, const std::string & id, const std::string & url, const Options & options) {
    Address address;
    proxy->callMethod(method)
        .onInterface(INTERFACE)
        .withArguments(id, url, options)
        .storeResultsTo(address.url, address.proxy, address.proxy_username);
    return address;
}


Address Service::open_repository(const std::string & id, const std::string & reference, const Options & options) {
    return open("OpenRepository", id, reference, options);
}


Address Service::open_file(const std::string & id, const std::string & url, const Options & options) {
    return open("OpenFile", id, url, options);
}


void Service::announce_packages(const std::string & id, const std::vector<Package> & packages) {
    proxy->callMethod("AnnouncePackages")
        .onInterface(INTERFACE)
        .withTimeout(NOTE_TIMEOUT)
        .withArguments(id, packages, Options{});
}


std::string Service::fetch_file(
    const std::string & id, const std::string & url, const std::string & cache_dir, const Options & options) {
    std::string path;
    proxy->callMethod("FetchFile")
        .onInterface(INTERFACE)
        .withTimeout(NO_TIMEOUT)
        .withArguments(id, url, cache_dir, options)
        .storeResultsTo(path);
    return path;
}


std::vector<std::string> Service::take_failures() {
    std::vector<std::string> lines;
    proxy->callMethod("TakeFailures").onInterface(INTERFACE).storeResultsTo(lines);
    return lines;
}


bool Service::wait(const std::function<bool(const Report &)> & on_progress) {
    while (true) {
        for (const auto & report : std::exchange(reports, {})) {
            if (!on_progress(report)) {
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


void Service::wait_for_data() {
    const auto data = connection->getEventLoopPollData();
    pollfd fds[] = {{data.fd, data.events, 0}, {data.eventFd, POLLIN, 0}};
    if (poll(fds, std::size(fds), data.getPollTimeout()) < 0 && errno != EINTR) {
        fail("poll");
    }
}

}  // namespace dnf5_oci
