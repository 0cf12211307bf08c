// dnf5's own progress bars for what the service fetches.

#pragma once

#include "backend.hpp"

#include <libdnf5/base/base.hpp>
#include <libdnf5/repo/download_callbacks.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace dnf5_oci {

/// The bars of one hook. Something gets a bar when its first byte has come, or when it has failed.
class Bars {
public:
    explicit Bars(libdnf5::Base & base) : callbacks(base.get_download_callbacks()) {}

    /// Ends all bars that have not ended: dnf5 would go on printing in the last one's line.
    ~Bars();

    Bars(const Bars &) = delete;
    Bars & operator=(const Bars &) = delete;

    /// Says what an item of a job is shown as.
    /// @param user_data  what the download callbacks get with it
    void name(std::uint64_t job, const std::string & item, const std::string & description, void * user_data = nullptr);

    /// Shows a report.
    /// @return whether to go on; false if the user wants no more
    bool show(const Report & report);

    /// Shows that an item has failed, and why; dnf5 prints the line below its bar.
    void fail(std::uint64_t job, const std::string & item, const std::string & line);

private:
    using Key = std::pair<std::uint64_t, std::string>;

    struct Name {
        std::string description;
        void * user_data;
    };

    void * bar(const Key & key, std::uint64_t total);

    libdnf5::repo::DownloadCallbacks * callbacks;
    std::map<Key, Name> names;
    // Those that have not ended.
    std::map<Key, void *> bars;
};

}  // namespace dnf5_oci
