// The private instance of the service, as a process.

#pragma once

#include <sys/types.h>

#include <string>

namespace dnf5_oci {

/// A private instance. It serves one socket, and ends when that is closed.
class Process {
public:
    /// Starts `program` to serve `socket`.
    /// @throws std::system_error if it cannot be started
    Process(const std::string & program, int socket);

    /// Waits until it has ended.
    ~Process();

    Process(const Process &) = delete;
    Process & operator=(const Process &) = delete;

private:
    pid_t id{-1};
};

}  // namespace dnf5_oci
