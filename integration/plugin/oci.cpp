// The libdnf5 plugin: has the dnf5-oci service fill DNF's cache for repositories whose baseurl is
// oci://…. All decisions are the service's; this only says what dnf5 wants and shows what comes.

#include <libdnf5/base/base.hpp>
#include <libdnf5/base/transaction.hpp>
#include <libdnf5/base/transaction_package.hpp>
#include <libdnf5/conf/config_parser.hpp>
#include <libdnf5/plugin/iplugin.hpp>
#include <libdnf5/repo/repo_query.hpp>
#include <libdnf5/rpm/package.hpp>
#include <libdnf5/transaction/transaction_item_action.hpp>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "backend.hpp"
#include "progress.hpp"

using namespace libdnf5;

namespace {

constexpr const char * PLUGIN_NAME{"oci"};
constexpr plugin::Version PLUGIN_VERSION{.major = 0, .minor = 1, .micro = 0};
constexpr PluginAPIVersion REQUIRED_API{.major = 2, .minor = 1};

constexpr const char * SCHEME{"oci://"};

// What progress reports call the metadata.
constexpr const char * REPODATA{"repodata"};

// Where the service on the system bus may write.
constexpr const char * SYSTEM_CACHE{"/var/cache/libdnf5/"};

constexpr const char * attrs[]{"author.name", "description", nullptr};
constexpr const char * attrs_value[]{
    "dnf5-oci",
    "Repositories in container registries."};


/// Makes dnf5 stop with one line.
class Stop : public std::runtime_error, public plugin::StopRequest {
public:
    using std::runtime_error::runtime_error;
};


/// The repository's baseurl, if it is in a registry.
std::string reference_of(const repo::Repo & repository) {
    const auto urls = repository.get_config().get_baseurl_option().get_value();
    return !urls.empty() && urls.front().starts_with(SCHEME) ? urls.front() : "";
}


/// What its configuration says about reaching a repository.
dnf5_oci::Options access_options(const repo::Repo & repository, std::uint64_t job) {
    dnf5_oci::Options options{{"job", sdbus::Variant{job}}};
    if (!repository.get_config().get_sslverify_option().get_value()) {
        options["tls-verify"] = sdbus::Variant{false};
    }
    return options;
}


class Oci : public plugin::IPlugin2_1 {
public:
    Oci(plugin::IPluginData & data, ConfigParser & parser) : IPlugin2_1(data) {
        if (parser.has_option("main", "backend")) {
            choice = parse_choice(parser.get_value("main", "backend"));
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
    void goal_resolved(const base::Transaction & transaction) override;
    void finish() noexcept override { backend.reset(); }

private:
    static dnf5_oci::Choice parse_choice(const std::string & value);
    dnf5_oci::Backend & connect();
    std::vector<repo::RepoWeakPtr> oci_repositories();
    void prefetch(const std::vector<repo::RepoWeakPtr> & repositories);
    void fetch(const std::map<std::string, std::vector<rpm::Package>> & wanted);

    dnf5_oci::Choice choice{dnf5_oci::Choice::AUTO};
    std::unique_ptr<dnf5_oci::Backend> backend;
};


dnf5_oci::Choice Oci::parse_choice(const std::string & value) {
    if (value == "auto") {
        return dnf5_oci::Choice::AUTO;
    }
    if (value == "system") {
        return dnf5_oci::Choice::SYSTEM;
    }
    if (value == "private") {
        return dnf5_oci::Choice::PRIVATE;
    }
    throw std::runtime_error("oci.conf: backend = " + value + " is none of auto, system, private");
}


dnf5_oci::Backend & Oci::connect() {
    if (backend) {
        return *backend;
    }
    const auto & config = get_base().get_config();
    const bool usual_cache = (config.get_cachedir_option().get_value() + "/").starts_with(SYSTEM_CACHE);
    const bool system = choice == dnf5_oci::Choice::SYSTEM ||
                        (choice == dnf5_oci::Choice::AUTO && geteuid() == 0 && usual_cache);
    if (system) {
        try {
            backend = dnf5_oci::Backend::on_system_bus();
            return *backend;
        } catch (const sdbus::Error & error) {
            if (choice == dnf5_oci::Choice::SYSTEM) {
                throw;
            }
            get_base().get_logger()->info("oci: no service on the system bus: {}", error.getMessage());
        }
    }
    backend = dnf5_oci::Backend::start_private();
    return *backend;
}


std::vector<repo::RepoWeakPtr> Oci::oci_repositories() {
    repo::RepoQuery query(get_base());
    query.filter_enabled(true);
    query.filter_type(repo::Repo::Type::AVAILABLE);
    std::vector<repo::RepoWeakPtr> found;
    for (const auto & repository : query) {
        if (!reference_of(*repository).empty()) {
            found.push_back(repository);
        }
    }
    return found;
}


void Oci::repos_configured() {
    if (get_base().get_config().get_cacheonly_option().get_value() != "none") {
        return;
    }
    const auto repositories = oci_repositories();
    if (repositories.empty()) {
        return;
    }
    try {
        prefetch(repositories);
    } catch (const std::exception & error) {
        dnf5_oci::Bars bars(get_base());
        bars.name(0, REPODATA, PLUGIN_NAME);
        bars.fail(0, REPODATA, std::string("dnf5-oci cannot be reached: ") + error.what());
    }
    // From here on the cache is what there is: dnf5 itself cannot ask a registry.
    for (const auto & repository : repositories) {
        const bool cached = std::filesystem::exists(repository->get_cachedir() + "/repodata/repomd.xml");
        repository->set_sync_strategy(
            cached ? repo::Repo::SyncStrategy::LAZY : repo::Repo::SyncStrategy::ONLY_CACHE);
    }
}


void Oci::prefetch(const std::vector<repo::RepoWeakPtr> & repositories) {
    auto & service = connect();
    dnf5_oci::Bars bars(get_base());
    std::uint64_t job = 0;
    for (const auto & repository : repositories) {
        ++job;
        bars.name(job, REPODATA, repository->get_config().get_name_option().get_value());
        auto options = access_options(*repository, job);
        const std::int64_t max_age = repository->get_config().get_metadata_expire_option().get_value();
        options["max-age"] = sdbus::Variant{max_age};
        if (const auto file = repository->get_repo_file_path(); !file.empty()) {
            options["repo-file"] = sdbus::Variant{file};
        }
        service.prefetch_repodata(
            repository->get_id(),
            reference_of(*repository),
            repository->get_cachedir(),
            options,
            [&bars, job](const std::optional<std::string> & error) {
                if (error) {
                    bars.fail(job, REPODATA, *error);
                }
            });
    }
    service.wait([&bars](const dnf5_oci::Report & report) { return bars.show(report); });
}


void Oci::goal_resolved(const base::Transaction & transaction) {
    const auto & config = get_base().get_config();
    if (config.get_assumeno_option().get_value() || config.get_cacheonly_option().get_value() == "all") {
        return;
    }
    std::map<std::string, std::vector<rpm::Package>> wanted;
    for (const auto & item : transaction.get_transaction_packages()) {
        const auto package = item.get_package();
        if (transaction::transaction_item_action_is_inbound(item.get_action()) &&
            !reference_of(*package.get_repo()).empty()) {
            wanted[package.get_repo_id()].push_back(package);
        }
    }
    if (!wanted.empty()) {
        fetch(wanted);
    }
}


void Oci::fetch(const std::map<std::string, std::vector<rpm::Package>> & wanted) {
    std::string failure;
    dnf5_oci::Bars bars(get_base());
    try {
        auto & service = connect();
        std::uint64_t job = 0;
        for (const auto & [id, packages] : wanted) {
            ++job;
            std::vector<dnf5_oci::Package> listed;
            for (const auto & package : packages) {
                const auto checksum = package.get_checksum();
                bars.name(job, package.get_location(), package.get_full_nevra());
                listed.emplace_back(
                    package.get_location(),
                    checksum.get_type_str() + ":" + checksum.get_checksum(),
                    package.get_download_size());
            }
            const auto & repository = *packages.front().get_repo();
            service.fetch_packages(
                id,
                reference_of(repository),
                repository.get_cachedir(),
                listed,
                access_options(repository, job),
                [&failure](const std::optional<std::string> & error) {
                    if (error && failure.empty()) {
                        failure = *error;
                    }
                });
        }
        if (!service.wait([&bars](const dnf5_oci::Report & report) { return bars.show(report); })) {
            failure = "the download was given up";
        }
    } catch (const std::exception & error) {
        failure = std::string("dnf5-oci cannot be reached: ") + error.what();
    }
    if (!failure.empty()) {
        // Closes the connection, and with it whatever the service still fetches for us.
        backend.reset();
        throw Stop(failure);
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
