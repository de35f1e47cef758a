#include "base/subprocess.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <cerrno>
#include <csignal>

#include "base/context.hpp"
#include "base/log.hpp"
#include "base/real_net.hpp"

// glibc 2.41 declares these without C linkage for C++.
extern "C" {
#include <sys/pidfd.h>
}

extern char** environ;

namespace basalt {

namespace {

constexpr std::size_t output_bytes_max = std::size_t{16} * 1024 * 1024;

[[noreturn]] void throw_code(int code, const std::string& what) {
    throw boost::system::system_error(code, boost::system::system_category(), what);
}

// posix_spawn's two argument objects, freed whatever happens.
class SpawnPlan {
  public:
    SpawnPlan() {
        posix_spawn_file_actions_init(&actions_);
        posix_spawnattr_init(&attributes_);
    }

    SpawnPlan(const SpawnPlan&) = delete;
    SpawnPlan& operator=(const SpawnPlan&) = delete;

    ~SpawnPlan() {
        posix_spawn_file_actions_destroy(&actions_);
        posix_spawnattr_destroy(&attributes_);
    }

    void inherit(const Command& command) {
        // Above every number in play first, so that no dup2 overwrites a descriptor that is still
        // to come.
        int above = 100;
        for (const auto& [fd, as] : command.inherit)
            above = std::max({above, fd + 1, as + 1});
        for (const auto& [fd, as] : command.inherit)
            posix_spawn_file_actions_adddup2(&actions_, fd, above + as);
        for (int standard = 0; standard < 3; ++standard)
            posix_spawn_file_actions_addopen(&actions_, standard, "/dev/null", O_RDWR, 0);
        for (const auto& [fd, as] : command.inherit)
            posix_spawn_file_actions_adddup2(&actions_, above + as, as);
        const int last =
            command.inherit.empty()
                ? 2
                : std::max(2, std::ranges::max(command.inherit, {}, &Command::Inherit::as).as);
        posix_spawn_file_actions_addclosefrom_np(&actions_, last + 1);
        if (!command.directory.empty())
            posix_spawn_file_actions_addchdir_np(&actions_, command.directory.c_str());
    }

    void signals_and_session(bool detached) {
        sigset_t all;
        sigfillset(&all);
        sigset_t none;
        sigemptyset(&none);
        posix_spawnattr_setsigdefault(&attributes_, &all);
        posix_spawnattr_setsigmask(&attributes_, &none);
        int flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
        if (detached) flags |= POSIX_SPAWN_SETSID;
        posix_spawnattr_setflags(&attributes_, static_cast<short>(flags));
    }

    pid_t spawn(const std::vector<std::string>& argv, const std::vector<std::string>& env) {
        std::vector<char*> arguments = pointers(argv);
        std::vector<char*> variables;
        for (char** entry = environ; *entry != nullptr; ++entry)
            variables.push_back(*entry);
        for (const std::string& entry : env)
            variables.push_back(const_cast<char*>(entry.c_str()));
        variables.push_back(nullptr);
        pid_t pid = -1;
        const int code = posix_spawnp(&pid, argv.front().c_str(), &actions_, &attributes_,
                                      arguments.data(), variables.data());
        if (code != 0) throw_code(code, argv.front());
        return pid;
    }

  private:
    static std::vector<char*> pointers(const std::vector<std::string>& words) {
        std::vector<char*> out;
        for (const std::string& word : words)
            out.push_back(const_cast<char*>(word.c_str()));
        out.push_back(nullptr);
        return out;
    }

    posix_spawn_file_actions_t actions_{};
    posix_spawnattr_t attributes_{};
};

std::pair<UniqueFd, UniqueFd> make_pipe() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw_code(errno, "pipe2");
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Task<void> drain(std::shared_ptr<FdStream> stream, std::string* out) {
    std::array<char, 16384> buffer{};
    for (;;) {
        const std::size_t got = co_await stream->read_some(buffer);
        if (got == 0) co_return;
        if (out->size() < output_bytes_max) out->append(buffer.data(), got);
    }
}

Task<void> feed(std::shared_ptr<FdStream> stream, std::string input) {
    try {
        co_await stream->write(input);
    } catch (const boost::system::system_error& error) {
        if (error.code() != asio::error::broken_pipe) throw;  // a program need not read its input
    }
    stream->close();
}

Task<void> collect(Loop& loop, Process& process, std::vector<Task<void>> pipes, Output& output) {
    co_await all(loop, std::move(pipes));
    output.status = co_await process.wait();
}

Task<void> discard_status(Process& process) {
    co_await process.wait();
}

Task<void> await_end(Loop& loop, Process& process) {
    try {
        co_await within(loop, 5s, discard_status(process), ApiError("INTERNAL_ERROR", {}));
    } catch (const ApiError&) {
        log::warn("process_will_not_end", {{"pid", process.pid()}});
    }
}

}  // namespace

Process::Process(RealLoop& loop, pid_t pid, UniqueFd pidfd, bool child)
    : loop_(loop), pid_(pid), pidfd_(std::move(pidfd)), child_(child) {}

Task<int> Process::wait() {
    if (!reaped_) {
        asio::posix::stream_descriptor ended(loop_.context(),
                                             fcntl(pidfd_.get(), F_DUPFD_CLOEXEC, 0));
        const log::Suspension suspended;
        co_await ended.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    }
    if (child_ && !reaped_) {
        siginfo_t info{};
        if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) == 0)
            status_ = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    }
    reaped_ = true;
    co_return status_;
}

void Process::kill(int signal) {
    if (!reaped_) pidfd_send_signal(pidfd_.get(), signal, nullptr, 0);
}

std::unique_ptr<Process> start_process(RealLoop& loop, const Command& command) {
    SpawnPlan plan;
    plan.inherit(command);
    plan.signals_and_session(command.detached);
    const pid_t pid = plan.spawn(command.argv, command.env);
    UniqueFd pidfd(pidfd_open(pid, 0));
    if (!pidfd) throw_code(errno, "pidfd_open");
    return std::make_unique<Process>(loop, pid, std::move(pidfd), true);
}

std::unique_ptr<Process> adopt_process(RealLoop& loop, pid_t pid) {
    UniqueFd pidfd(pidfd_open(pid, 0));
    if (!pidfd) return nullptr;
    return std::make_unique<Process>(loop, pid, std::move(pidfd), false);
}

Task<Output> run_command(RealLoop& loop, Command command, Duration limit, std::string input) {
    auto [in_read, in_write] = make_pipe();
    auto [out_read, out_write] = make_pipe();
    auto [err_read, err_write] = make_pipe();
    command.inherit.push_back({in_read.get(), 0});
    command.inherit.push_back({out_write.get(), 1});
    command.inherit.push_back({err_write.get(), 2});
    const std::string name = command.argv.front();
    const auto process = start_process(loop, command);
    in_read.reset();
    out_write.reset();
    err_write.reset();

    Output output;
    std::vector<Task<void>> pipes;
    pipes.push_back(feed(adopt_stream(loop, std::move(in_write)), std::move(input)));
    pipes.push_back(drain(adopt_stream(loop, std::move(out_read)), &output.out));
    pipes.push_back(drain(adopt_stream(loop, std::move(err_read)), &output.err));
    std::exception_ptr failure;
    try {
        co_await within(loop, limit, collect(loop, *process, std::move(pipes), output),
                        ApiError("INTERNAL_ERROR", {name + " took too long"}));
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        process->kill(SIGKILL);
        // Reaped, and what it had locked is free; but one that the kernel holds on to is left.
        co_await asio::this_coro::throw_if_cancelled(false);
        co_await shielded(await_end(loop, *process));
        co_await asio::this_coro::throw_if_cancelled(true);
        std::rethrow_exception(failure);
    }
    co_return output;
}

}  // namespace basalt
