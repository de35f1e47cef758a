#include "host-agent/services/terminal.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

namespace {

constexpr unsigned short rows = 24;
constexpr unsigned short columns = 80;

[[noreturn]] void fail(const char* what) {
    throw err::internal_error(std::string("terminal: ") + what + ": " + std::strerror(errno));
}

struct Pty {
    UniqueFd ours;
    UniqueFd theirs;
};

Pty make_pty() {
    Pty pty;
    // Neither becomes hostd's own controlling terminal.
    pty.ours = UniqueFd(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!pty.ours) fail("posix_openpt");
    std::array<char, 128> name{};
    if (grantpt(pty.ours.get()) != 0 || unlockpt(pty.ours.get()) != 0 ||
        ptsname_r(pty.ours.get(), name.data(), name.size()) != 0)
        fail("unlockpt");
    pty.theirs = UniqueFd(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!pty.theirs) fail(name.data());
    const winsize size{rows, columns, 0, 0};
    ioctl(pty.theirs.get(), TIOCSWINSZ, &size);
    return pty;
}

Task<void> reap(std::shared_ptr<Process> process) {
    const int status = co_await process->wait();
    log::info("host_console_closed", {{"pid", process->pid()}, {"status", status}});
}

}  // namespace

UniqueFd open_terminal(RealLoop& loop, const std::vector<std::string>& program) {
    Pty pty = make_pty();
    Command command;
    // util-linux: a session of its own, with descriptor 0 as its controlling terminal.
    command.argv = {"setsid", "--ctty", "--wait"};
    command.argv.insert(command.argv.end(), program.begin(), program.end());
    command.env = {"TERM=xterm"};
    for (const int number : {0, 1, 2})
        command.inherit.push_back({pty.theirs.get(), number});
    std::shared_ptr<Process> process = start_process(loop, command);
    log::info("host_console_opened", {{"pid", process->pid()}});
    spawn(loop, "host console", reap(std::move(process)));
    return std::move(pty.ours);
}

}  // namespace basalt::agent
