#include "process.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace dnf5_oci {

namespace {

// The descriptor that the instance finds its socket at: the first after stdin, stdout and stderr.
constexpr int SOCKET = 3;

}  // namespace


Process::Process(const std::string & program, int socket) {
    const std::string number = std::to_string(SOCKET);
    const char * const arguments[] = {program.c_str(), "serve", "--fd", number.c_str(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, socket, SOCKET);
    // dnf5's locks and databases are not its business.
    posix_spawn_file_actions_addclosefrom_np(&actions, SOCKET + 1);
    const int error =
        posix_spawn(&id, program.c_str(), &actions, nullptr, const_cast<char * const *>(arguments), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
        throw std::system_error(error, std::generic_category(), program);
    }
}


Process::~Process() {
    while (waitpid(id, nullptr, 0) < 0 && errno == EINTR) {
    }
}

}  // namespace dnf5_oci
