#include "progress.hpp"

namespace dnf5_oci {

using libdnf5::repo::DownloadCallbacks;


void Bars::name(std::uint64_t job, const std::string & item, const std::string & description) {
    descriptions[{job, item}] = description;
}


void * Bars::bar(const Key & key, std::uint64_t total) {
    auto found = bars.find(key);
    if (found == bars.end()) {
        const auto description = descriptions.find(key);
        const auto & text = description == descriptions.end() ? key.second : description->second;
        void * const bar = callbacks->add_new_download(nullptr, text.c_str(), static_cast<double>(total));
        found = bars.emplace(key, bar).first;
    }
    return found->second;
}


bool Bars::show(const Report & report) {
    if (!callbacks) {
        return false;
    }
    void * const data = bar({report.job, report.item}, report.total);
    const auto total = static_cast<double>(report.total);
    bool stop = callbacks->progress(data, total, static_cast<double>(report.received)) != DownloadCallbacks::OK;
    if (report.finished) {
        stop |= callbacks->end(data, DownloadCallbacks::TransferStatus::SUCCESSFUL, nullptr) != DownloadCallbacks::OK;
    }
    return stop;
}


void Bars::fail(std::uint64_t job, const std::string & item, const std::string & line) {
    if (callbacks) {
        callbacks->end(bar({job, item}, 0), DownloadCallbacks::TransferStatus::ERROR, line.c_str());
    }
}

}  // namespace dnf5_oci
