#include "progress.hpp"

namespace dnf5_oci {

using libdnf5::repo::DownloadCallbacks;


Bars::~Bars() {
    for (const auto & [key, data] : unfinished) {
        try {
            callbacks->end(data, DownloadCallbacks::TransferStatus::ERROR, "left to dnf5");
        } catch (...) {
            // The callbacks are another program's, and a destructor must not throw.
        }
    }
}


void Bars::name(std::uint64_t job, const std::string & item, const std::string & description) {
    names[{job, item}] = description;
}


void * Bars::bar(const Key & key, std::uint64_t total) {
    const auto found = unfinished.find(key);
    if (found != unfinished.end()) {
        return found->second;
    }
    void * const data = callbacks->add_new_download(nullptr, names[key].c_str(), static_cast<double>(total));
    return unfinished[key] = data;
}


bool Bars::show(const Report & report) {
    if (!callbacks) {
        return true;
    }
    const Key key{report.job, report.item};
    void * const data = bar(key, report.total);
    bool go_on = callbacks->progress(data, static_cast<double>(report.total), static_cast<double>(report.received)) ==
                 DownloadCallbacks::OK;
    if (report.finished) {
        unfinished.erase(key);
        go_on &= callbacks->end(data, DownloadCallbacks::TransferStatus::SUCCESSFUL, nullptr) == DownloadCallbacks::OK;
    }
    return go_on;
}


void show_failure(libdnf5::Base & base, const std::string & line) {
    if (auto * const callbacks = base.get_download_callbacks()) {
        // Without a total, or a beginning, dnf5 would print question marks.
        void * const bar = callbacks->add_new_download(nullptr, "dnf5-oci", 1);
        callbacks->progress(bar, 0, 0);
        callbacks->end(bar, DownloadCallbacks::TransferStatus::ERROR, line.c_str());
    }
}

}  // namespace dnf5_oci
