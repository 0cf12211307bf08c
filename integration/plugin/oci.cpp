// The libdnf5 plugin: has the dnf5-oci service serve or fetch repositories whose baseurl is
// oci://…. All decisions are the service's; this only says what dnf5 wants and shows what comes.

#include "backend.hpp"
#include "eager.hpp"
#include "on_demand.hpp"
#include "repositories.hpp"

#include <libdnf5/base/base.hpp>
#include <libdnf5/conf/config_parser.hpp>
#include <libdnf5/plugin/iplugin.hpp>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <utility>

using namespace libdnf5;

namespace {

constexpr const char * PLUGIN_NAME{"oci"};
constexpr plugin::Version PLUGIN_VERSION{VERSION};
constexpr PluginAPIVersion REQUIRED_API{.major = 2, .minor = 1};

// Where the service on the system bus may write.
constexpr const char * SYSTEM_CACHE{"/var/cache/libdnf5"};

constexpr const char * attrs[]{"author.name", "description", nullptr};
constexpr const char * attrs_value[]{"dnf5-oci", "Repositories in container registries."};


/// Which instance is used.
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
    throw std::runtime_error("backend = " + value + " is none of auto, system, private");
}


bool parse_eager(const std::string & value) {
    if (value == "on-demand" || value == "eager") {
        return value == "eager";
    }
    throw std::runtime_error("fetch = " + value + " is none of on-demand, eager");
}


class Oci : public plugin::IPlugin2_1 {
public:
    Oci(plugin::IPluginData & data, ConfigParser & parser) : IPlugin2_1(data) {
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

    void repos_configured() override;
    void repos_loaded() override;
    void pre_transaction(const base::Transaction & transaction) override;
    void goal_resolved(const base::Transaction & transaction) override;
    void finish() noexcept override;

private:
    dnf5_oci::Backend & service();
    std::unique_ptr<dnf5_oci::Backend> connect();
    std::unique_ptr<dnf5_oci::Backend> on_system_bus();
    void prefetch(const dnf5_oci::Repositories & repositories);

    Choice choice{Choice::AUTO};
    bool eager{false};
    std::string program{SERVICE};
    std::unique_ptr<dnf5_oci::Backend> backend;
    // Whether it serves repositories on demand.
    bool serving{false};
    // Whether dnf5 has all that it has wanted for a transaction.
    bool has_packages{false};
};


dnf5_oci::Backend & Oci::service() {
    if (!backend) {
        try {
            backend = connect();
        } catch (const std::exception & error) {
            throw std::runtime_error(std::string("dnf5-oci cannot be reached: ") + error.what());
        }
    }
    return *backend;
}


std::unique_ptr<dnf5_oci::Backend> Oci::connect() {
    if (choice == Choice::SYSTEM) {
        return dnf5_oci::Backend::on_system_bus();
    }
    const auto cache = get_base().get_config().get_cachedir_option().get_value();
    if (choice == Choice::AUTO && geteuid() == 0 && (cache + "/").starts_with(SYSTEM_CACHE + std::string("/"))) {
        if (auto system = on_system_bus()) {
            return system;
        }
    }
    return dnf5_oci::Backend::start_private(program);
}


/// The instance on the system bus, if it is one for us.
std::unique_ptr<dnf5_oci::Backend> Oci::on_system_bus() {
    auto & logger = *get_base().get_logger();
    try {
        auto system = dnf5_oci::Backend::on_system_bus();
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
    const auto repositories = dnf5_oci::oci_repositories(get_base());
    if (repositories.empty()) {
        return;
    }
    try {
        if (eager) {
            prefetch(repositories);
        } else {
            serving = dnf5_oci::open(get_base(), service(), repositories);
        }
    } catch (const std::exception & error) {
        backend.reset();
        // A command that needs what is not in the cache fails or skips it; those that load no repository
        // go on.
        for (const auto & repository : repositories) {
            repository->set_sync_strategy(repo::Repo::SyncStrategy::ONLY_CACHE);
        }
        dnf5_oci::warn(get_base(), error.what());
    }
}


void Oci::prefetch(const dnf5_oci::Repositories & repositories) {
    if (get_base().get_config().get_cacheonly_option().get_value() != "none") {
        return;
    }
    // dnf5 itself cannot ask a registry: once this is over, the cache is what there is.
    for (const auto & repository : repositories) {
        repository->set_sync_strategy(repo::Repo::SyncStrategy::ONLY_CACHE);
    }
    dnf5_oci::prefetch(get_base(), service(), repositories);
}


void Oci::repos_loaded() {
    if (!serving) {
        return;
    }
    try {
        dnf5_oci::show_failures(get_base(), *backend);
    } catch (const std::exception & error) {
        // What dnf5 wanted of it up to now it has got.
        get_base().get_logger()->warning("oci: {}", error.what());
    }
}


void Oci::pre_transaction([[maybe_unused]] const base::Transaction & transaction) {
    has_packages = true;
}


void Oci::finish() noexcept {
    try {
        // dnf5 calls this more than once.
        if (std::exchange(serving, false)) {
            dnf5_oci::print_failures(*backend);
        }
    } catch (const sdbus::Error & error) {
        // A transaction may well have replaced the service, or stopped it.
        if (!has_packages) {
            std::cerr << dnf5_oci::line_of(error) << std::endl;
        }
    } catch (...) {
        // Nothing may leave this function.
    }
    backend.reset();
}


void Oci::goal_resolved(const base::Transaction & transaction) {
    const auto & config = get_base().get_config();
    if (!eager || config.get_assumeno_option().get_value() || config.get_cacheonly_option().get_value() == "all") {
        return;
    }
    const auto packages = dnf5_oci::inbound_packages(transaction);
    if (packages.empty()) {
        return;
    }
    try {
        dnf5_oci::fetch(get_base(), service(), packages);
    } catch (const std::exception & error) {
        // With the connection goes whatever the service still does for us.
        backend.reset();
        throw dnf5_oci::Stop(error.what());
    }
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
    [[maybe_unused]] LibraryVersion library_version, plugin::IPluginData & data, ConfigParser & parser) try {
    return new Oci(data, parser);
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
