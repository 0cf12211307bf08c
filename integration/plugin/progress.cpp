#include "progress.hpp"

namespace dnf5_oci {

using libdnf5::repo::DownloadCallbacks;


Bars::~Bars() {
    for (const auto & [key, data] : bars) {
        try {
            callbacks->end(data, DownloadCallbacks::TransferStatus::ERROR, "given up");
        } catch (...) {
            // Somebody else's callbacks; there is nothing left to tell them.
        }
    }
}


void Bars::name(std::uint64_t job, const std::string & item, const std::string & description, void * user_data) {
    names[{job, item}] = {description, user_data};
}


void * Bars::bar(const Key & key, std::uint64_t total) {
    auto found = bars.find(key);
    if (found == bars.end()) {
        const auto name = names.find(key);
        const auto [text, user_data] = name == names.end() ? Name{key.second, nullptr} : name->second;
        void * const bar = callbacks->add_new_download(user_data, text.c_str(), static_cast<double>(total));
        found = bars.emplace(key, bar).first;
    }
    return found->second;
}


bool Bars::show(const Report & report) {
    if (!callbacks) {
        return true;
    }
    const Key key{report.job, report.item};
    void * const data = bar(key, report.total);
    bool more = callbacks->progress(data, static_cast<double>(report.total), static_cast<double>(report.received)) ==
                DownloadCallbacks::OK;
    if (report.finished) {
        bars.erase(key);
        more &= callbacks->end(data, DownloadCallbacks::TransferStatus::SUCCESSFUL, nullptr) == DownloadCallbacks::OK;
    }
    return more;
}


void Bars::fail(std::uint64_t job, const std::string & item, const std::string & line) {
    if (!callbacks) {
        return;
    }
    const Key key{job, item};
    void * const data = bar(key, 0);
    bars.erase(key);
    callbacks->end(data, DownloadCallbacks::TransferStatus::ERROR, line.c_str());
}

}  // namespace dnf5_oci
