// dnf5's own progress bars for what the service fetches.

#pragma once

#include <libdnf5/base/base.hpp>
#include <libdnf5/repo/download_callbacks.hpp>

#include <cstdint>
#include <map>
#include <string>

#include "backend.hpp"

namespace dnf5_oci {

/// The bars of one hook. Something gets a bar when its first byte has come, or when it has failed.
class Bars {
public:
    explicit Bars(libdnf5::Base & base) : callbacks(base.get_download_callbacks()) {}

    /// Items of this job are shown under this name; without an item, all of them.
    void name(std::uint64_t job, const std::string & item, const std::string & description);

    /// Shows a report.
    /// @return whether the user wants all to be given up
    bool show(const Report & report);

    /// Shows that something has failed, and why; dnf5 prints the line below the bar.
    void fail(std::uint64_t job, const std::string & item, const std::string & line);

private:
    using Key = std::pair<std::uint64_t, std::string>;

    void * bar(const Key & key, std::uint64_t total);

    libdnf5::repo::DownloadCallbacks * callbacks;
    std::map<Key, std::string> descriptions;
    std::map<Key, void *> bars;
};

}  // namespace dnf5_oci
