// The libdnf5 plugin: repositories whose baseurl is oci://… are served to dnf5 by the dnf5-oci service.
// The plugin only passes on configuration, requests and failures; every decision is the service's.

#include "head_start.hpp"
#include "keys.hpp"
#include "packages.hpp"
#include "progress.hpp"
#include "repositories.hpp"
#include "service.hpp"

#include <libdnf5/base/base.hpp>
#include <libdnf5/conf/config_parser.hpp>
#include <libdnf5/plugin/iplugin.hpp>
#include <libdnf5/version.hpp>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <utility>

using namespace libdnf5;

namespace {

constexpr const char * PLUGIN_NAME{"oci"};
constexpr plugin::Version PLUGIN_VERSION{VERSION};
constexpr PluginAPIVersion REQUIRED_API{.major = 2, .minor = 1};

// The versions of libdnf5 that the plugin works with, from the first to before the second. libdnf5 raises the second
// number for incompatible changes of its API (libdnf5/version.hpp), and neither the plugin API's major number nor the
// soname with it: 5.2, 5.3 and 5.4 have the same.
constexpr LibraryVersion OLDEST{.prime = 5, .major = 2, .minor = 17, .micro = 0};
constexpr LibraryVersion TOO_NEW{.prime = 5, .major = 5, .minor = 0, .micro = 0};

// The first version whose progress bars show whole lines, and not only as much as the terminal is wide.
constexpr LibraryVersion WHOLE_LINES{.prime = 5, .major = 3, .minor = 0, .micro = 0};

// Where the service on the system bus may write.
constexpr const char * SYSTEM_CACHE{"/var/cache/libdnf5"};

// How long the bus may take to start the service, and how long where a private instance does as well.
constexpr std::chrono::seconds START_TIMEOUT{15};
constexpr std::chrono::seconds START_TIMEOUT_WITH_ALTERNATIVE{1};

const std::string CONNECTION_FAILED{"dnf5-oci: connection to the service failed: "};

constexpr const char * attrs[]{"author.name", "description", nullptr};
constexpr const char * attrs_value[]{"dnf5-oci", "Repositories in container registries."};


/// Which instance of the service is used.
enum class Choice { AUTO, SYSTEM, PRIVATE };

Choice parse_choice(const std::string & value) {
    if (value == "auto") {
        return Choice::AUTO;
    }
    if (value == "system") {
        return Choice::SYSTEM;
    }
    if (value == "private") {
        return Choice::PRIVATE;
    }
    throw std::runtime_error("oci.conf: unknown backend \"" + value + "\"; use auto, system or private");
}


bool parse_eager(const std::string & value) {
    if (value == "on-demand" || value == "eager") {
        return value == "eager";
    }
    throw std::runtime_error("oci.conf: unknown fetch \"" + value + "\"; use on-demand or eager");
}


/// Whether libcurl ignores all proxies, even one that is set explicitly.
bool proxies_are_disabled() {
    const char * value = std::getenv("no_proxy");
    if (!value) {
        value = std::getenv("NO_PROXY");
    }
    return value && std::string_view(value) == "*";
}


/// Makes dnf5 stop.
class Cancelled : public std::runtime_error, public plugin::StopRequest {
public:
    Cancelled() : std::runtime_error("the download was cancelled") {}
};


/// What the plugin says of itself.
class Plugin : public plugin::IPlugin2_1 {
public:
    using IPlugin2_1::IPlugin2_1;

    PluginAPIVersion get_api_version() const noexcept override { return REQUIRED_API; }
    const char * get_name() const noexcept override { return PLUGIN_NAME; }
    plugin::Version get_version() const noexcept override { return PLUGIN_VERSION; }
    const char * const * get_attributes() const noexcept override { return attrs; }
    const char * get_attribute(const char * attribute) const noexcept override {
        for (std::size_t i = 0; attrs[i]; ++i) {
            if (std::strcmp(attribute, attrs[i]) == 0) {
                return attrs_value[i];
            }
        }
        return nullptr;
    }
};


bool is_older(const LibraryVersion & version, const LibraryVersion & other) {
    const auto numbers = [](const LibraryVersion & v) { return std::tuple(v.prime, v.major, v.minor, v.micro); };
    return numbers(version) < numbers(other);
}


bool is_supported(const LibraryVersion & version) {
    return !is_older(version, OLDEST) && is_older(version, TOO_NEW);
}


std::string text(const LibraryVersion & version) {
    return std::to_string(version.prime) + "." + std::to_string(version.major) + "." + std::to_string(version.minor);
}


/// Takes the plugin's place in a libdnf5 that is not supported. libdnf5 would end the program if there were no
/// instance.
class Unsupported : public Plugin {
public:
    Unsupported(plugin::IPluginData & data, const LibraryVersion & version) : Plugin(data), version(version) {}

    void init() override {
        get_base().get_logger()->error(
            "oci: repositories in registries are not available: libdnf5 {} is not supported, only {} and newer, older "
            "than {}.{}; update libdnf5 or libdnf5-plugin-oci",
            text(version),
            text(OLDEST),
            TOO_NEW.prime,
            TOO_NEW.major);
    }

private:
    LibraryVersion version;
};


class Oci : public Plugin {
public:
    Oci(plugin::IPluginData & data, ConfigParser & parser, const LibraryVersion & version)
        : Plugin(data),
          shows_lines(!is_older(version, WHOLE_LINES)) {
        if (parser.has_option("main", "backend")) {
            choice = parse_choice(parser.get_value("main", "backend"));
        }
        if (parser.has_option("main", "fetch")) {
            eager = parse_eager(parser.get_value("main", "fetch"));
        }
        if (parser.has_option("main", "service")) {
            program = parser.get_value("main", "service");
        }
    }

    void repos_configured() override;
    void repos_loaded() override;
    void pre_add_cmdline_packages(const std::vector<std::string> & paths) override;
    void post_add_cmdline_packages() override;
    void goal_resolved(const base::Transaction & transaction) override;
    void pre_transaction(const base::Transaction & transaction) override;
    void finish() noexcept override;

private:
    std::unique_ptr<dnf5_oci::Service> connect();
    std::unique_ptr<dnf5_oci::Service> system_instance();
    bool open(const dnf5_oci::Repository & repository);
    void fetch_keys(const dnf5_oci::Repository & repository);
    void report(const std::string & line);

    Choice choice{Choice::AUTO};
    bool eager{false};
    std::string program{SERVICE};
    dnf5_oci::Repositories repositories;
    // Set while it serves repositories.
    std::unique_ptr<dnf5_oci::Service> service;
    // dnf5's own proxy, while it fetches packages on its command line through the service.
    std::optional<dnf5_oci::Proxy> own_proxy;
    // Whether lines can be shown among dnf5's progress bars. Otherwise they are printed at its end.
    bool shows_lines;
    // Lines that the user has not seen yet.
    std::vector<std::string> failures;
    // Whether dnf5 has fetched all packages of a transaction.
    bool has_packages{false};
};


std::unique_ptr<dnf5_oci::Service> Oci::connect() {
    if (choice == Choice::SYSTEM) {
        return dnf5_oci::Service::on_system_bus(START_TIMEOUT);
    }
    const auto cache = get_base().get_config().get_cachedir_option().get_value();
    if (choice == Choice::AUTO && geteuid() == 0 && (cache + "/").starts_with(SYSTEM_CACHE + std::string("/"))) {
        if (auto system = system_instance()) {
            return system;
        }
    }
    return dnf5_oci::Service::start_private(program);
}


/// The instance on the system bus, if it works on our cache: a host's does not in a container or a chroot.
std::unique_ptr<dnf5_oci::Service> Oci::system_instance() {
    auto & logger = *get_base().get_logger();
    try {
        auto system = dnf5_oci::Service::on_system_bus(START_TIMEOUT_WITH_ALTERNATIVE);
        if (system->shares(SYSTEM_CACHE)) {
            return system;
        }
        logger.info("oci: the service on the system bus has another {}", SYSTEM_CACHE);
    } catch (const sdbus::Error & error) {
        logger.info("oci: no service on the system bus: {}", error.getMessage());
    }
    return nullptr;
}


void Oci::repos_configured() {
    auto found = dnf5_oci::oci_repositories(get_base());
    if (found.empty()) {
        return;
    }
    if (proxies_are_disabled()) {
        report(CONNECTION_FAILED + "no_proxy=* disables all proxies, and the service is one for dnf5; unset no_proxy");
    } else {
        try {
            service = connect();
        } catch (const std::exception & error) {
            report(CONNECTION_FAILED + error.what() + "; check \"backend\" and \"service\" in oci.conf");
        }
    }
    std::erase_if(found, [this](const auto & repository) { return !open(repository); });
    repositories = std::move(found);
    for (const auto & repository : repositories) {
        if (dnf5_oci::needs_keys(repository)) {
            fetch_keys(repository);
        }
    }
    if (repositories.empty()) {
        service.reset();
    } else if (eager && get_base().get_config().get_cacheonly_option().get_value() == "none") {
        dnf5_oci::prefetch_metadata(get_base(), *service, repositories);
    }
}


/// Has the service serve a repository. If that fails, dnf5 uses its cache alone, so that a command that does
/// not need the repository still works.
/// @return whether it is served
bool Oci::open(const dnf5_oci::Repository & repository) {
    if (service) {
        try {
            dnf5_oci::open(*service, repository);
            return true;
        } catch (const sdbus::Error & error) {
            report(dnf5_oci::line_of(error));
        }
    }
    repository.repo->set_sync_strategy(repo::Repo::SyncStrategy::ONLY_CACHE);
    return false;
}


void Oci::fetch_keys(const dnf5_oci::Repository & repository) {
    try {
        dnf5_oci::fetch_keys(*service, repository);
    } catch (const sdbus::Error & error) {
        report(dnf5_oci::line_of(error));
    }
}


/// Logs a failure. The user sees it when dnf5 has loaded its repositories, or at its end.
void Oci::report(const std::string & line) {
    get_base().get_logger()->warning("{}", line);
    failures.push_back(line);
}


void Oci::repos_loaded() {
    try {
        if (service) {
            std::ranges::for_each(service->take_failures(), [this](const auto & line) { report(line); });
        }
    } catch (const sdbus::Error & error) {
        // dnf5 has already loaded what it asked for.
        get_base().get_logger()->warning("oci: {}", error.getMessage());
    }
    if (shows_lines) {
        for (const auto & line : std::exchange(failures, {})) {
            dnf5_oci::show_failure(get_base(), line);
        }
    }
}


void Oci::pre_add_cmdline_packages(const std::vector<std::string> & paths) {
    std::vector<std::string> urls;
    std::ranges::copy_if(paths, std::back_inserter(urls), dnf5_oci::is_served);
    if (urls.empty()) {
        return;
    }
    try {
        if (!service) {
            service = connect();
        }
        own_proxy = dnf5_oci::open_files(get_base(), *service, repositories, urls);
    } catch (const sdbus::Error & error) {
        report(dnf5_oci::line_of(error));
    } catch (const std::exception & error) {
        report(CONNECTION_FAILED + error.what());
    }
}


void Oci::post_add_cmdline_packages() {
    if (own_proxy) {
        dnf5_oci::restore(get_base(), *std::exchange(own_proxy, std::nullopt));
    }
}


void Oci::goal_resolved(const base::Transaction & transaction) {
    const auto & config = get_base().get_config();
    if (!service || config.get_assumeno_option().get_value()) {
        return;
    }
    for (const auto & repository : repositories) {
        if (dnf5_oci::needs_keys(repository, transaction)) {
            fetch_keys(repository);
        }
    }
    if (config.get_cacheonly_option().get_value() == "all") {
        return;
    }
    // dnf5 looks for packages in `destdir` instead of its cache.
    if (!eager || !config.get_destdir_option().empty()) {
        dnf5_oci::announce_packages(get_base(), *service, repositories, transaction);
        return;
    }
    if (!dnf5_oci::prefetch_packages(get_base(), *service, repositories, transaction)) {
        service.reset();
        throw Cancelled();
    }
}


void Oci::pre_transaction([[maybe_unused]] const base::Transaction & transaction) {
    has_packages = true;
}


/// Prints the reasons for which dnf5 has stopped: its own messages only have a URL and a status. Progress bars
/// and log no longer exist here.
void Oci::finish() noexcept try {
    // dnf5 calls this more than once.
    const auto closing = std::exchange(service, nullptr);
    for (const auto & line : std::exchange(failures, {})) {
        std::cerr << line << std::endl;
    }
    if (closing) {
        for (const auto & line : closing->take_failures()) {
            std::cerr << line << std::endl;
        }
    }
} catch (const sdbus::Error & error) {
    // A transaction may have replaced or stopped the service.
    if (!has_packages) {
        std::cerr << dnf5_oci::line_of(error) << std::endl;
    }
} catch (...) {
    // An exception would end the process.
}

std::exception_ptr last_exception;

}  // namespace


PluginAPIVersion libdnf_plugin_get_api_version(void) {
    return REQUIRED_API;
}

const char * libdnf_plugin_get_name(void) {
    return PLUGIN_NAME;
}

plugin::Version libdnf_plugin_get_version(void) {
    return PLUGIN_VERSION;
}

plugin::IPlugin * libdnf_plugin_new_instance(
    LibraryVersion library_version, plugin::IPluginData & data, ConfigParser & parser) try {
    if (!is_supported(library_version)) {
        return new Unsupported(data, library_version);
    }
    return new Oci(data, parser, library_version);
} catch (...) {
    last_exception = std::current_exception();
    return nullptr;
}

void libdnf_plugin_delete_instance(plugin::IPlugin * plugin_object) {
    delete plugin_object;
}

std::exception_ptr * libdnf_plugin_get_last_exception(void) {
    return &last_exception;
}
