// dnf5's own progress bars, for what the service fetches.

#pragma once

#include "service.hpp"

#include <libdnf5/base/base.hpp>
#include <libdnf5/repo/download_callbacks.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace dnf5_oci {

/// The progress bars of the packages in one hook. A package gets its bar with its first byte.
class Bars {
public:
    explicit Bars(libdnf5::Base & base) : callbacks(base.get_download_callbacks()) {}

    /// Ends all unfinished bars: dnf5 would go on printing in the line of the last one.
    ~Bars();

    Bars(const Bars &) = delete;
    Bars & operator=(const Bars &) = delete;

    /// Sets the description of an item of a job.
    void name(std::uint64_t job, const std::string & item, const std::string & description);

    /// Shows a report.
    /// @return whether to go on; false if the user has cancelled
    bool show(const Report & report);

private:
    using Key = std::pair<std::uint64_t, std::string>;

    void * bar(const Key & key, std::uint64_t total);

    libdnf5::repo::DownloadCallbacks * callbacks;
    std::map<Key, std::string> names;
    std::map<Key, void *> unfinished;
};

/// Shows a line about a failure.
void show_failure(libdnf5::Base & base, const std::string & line);

}  // namespace dnf5_oci
