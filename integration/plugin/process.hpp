// The private instance of the service, as a process.

#pragma once

#include <sys/types.h>

#include <string>

namespace dnf5_oci {

/// A private instance. It serves one socket and ends by itself when that is closed.
class Process {
public:
    /// Starts `program` with `socket` as its only business.
    /// @throws std::system_error if it cannot be started
    Process(const std::string & program, int socket);

    /// Waits for its end.
    ~Process();

    Process(const Process &) = delete;
    Process & operator=(const Process &) = delete;

private:
    pid_t id{-1};
};

}  // namespace dnf5_oci
