#include "process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace dnf5_oci {

namespace {

// The instance's descriptor of its socket: the first after stdin, stdout and stderr.
constexpr int SOCKET = 3;


/// The instance and its skopeo would inherit blocked and ignored signals. In a process group of its own it does
/// not receive the terminal's Ctrl-C, which the program may handle and go on.
void isolate_signals(posix_spawnattr_t & attributes) {
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

}  // namespace


Process::Process(const std::string & program, int socket) {
    const std::string number = std::to_string(SOCKET);
    const char * const arguments[] = {program.c_str(), "serve", "--fd", number.c_str(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    // First, because the socket may have one of the numbers below, if the program had closed that one.
    posix_spawn_file_actions_adddup2(&actions, socket, SOCKET);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    // dnf5's locks and databases must not stay open in the instance.
    posix_spawn_file_actions_addclosefrom_np(&actions, SOCKET + 1);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    isolate_signals(attributes);
    const int error =
        posix_spawn(&id, program.c_str(), &actions, &attributes, const_cast<char * const *>(arguments), environ);
    posix_spawnattr_destroy(&attributes);
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
