// confine: gives up everything that its options do not keep, then becomes another program.
//
//     confine --uid N [--capability NAME]... [--group FILE]... [--read PATH]... [--write PATH]...
//             [--pid-file FILE] [--file-bytes N] [--open-files N]
//             [--all-files] [--network] [--device-events] -- PROGRAM ARGUMENTS...
//
// base/cell.hpp says what each means. Descriptors pass through. Whatever cannot be given up ends
// it with 126 and a line on stderr, save Landlock on a kernel that has none.
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/cell.hpp"
#include "base/launcher/landlock.hpp"
#include "base/launcher/seccomp.hpp"

namespace basalt::launcher {

namespace {

struct Capability {
    std::string_view name;
    int number;
};

// What a driver of a storage repository may need; the rest nobody keeps.
constexpr std::array capabilities = {
    Capability{"chown", CAP_CHOWN},         Capability{"dac_override", CAP_DAC_OVERRIDE},
    Capability{"fowner", CAP_FOWNER},       Capability{"kill", CAP_KILL},
    Capability{"setuid", CAP_SETUID},       Capability{"setgid", CAP_SETGID},
    Capability{"setpcap", CAP_SETPCAP},     Capability{"mknod", CAP_MKNOD},
    Capability{"sys_admin", CAP_SYS_ADMIN}, Capability{"sys_rawio", CAP_SYS_RAWIO},
    Capability{"sys_nice", CAP_SYS_NICE},   Capability{"ipc_lock", CAP_IPC_LOCK},
};

std::uint64_t number_of(const std::string& text) {
    std::uint64_t number = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, number);
    if (parsed.ec != std::errc() || parsed.ptr != end) fail("not a number: " + text);
    return number;
}

struct Request {
    Cell cell;
    std::vector<std::string> argv;
};

Request parse(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    Request out;
    std::size_t at = 0;
    const auto value = [&words, &at] {
        if (at + 1 >= words.size()) fail("no value for " + words[at]);
        return words[++at];
    };
    for (; at < words.size() && words[at] != "--"; ++at) {
        const std::string& word = words[at];
        if (word == "--uid") {
            out.cell.uid = static_cast<uid_t>(number_of(value()));
        } else if (word == "--capability") {
            out.cell.capabilities.push_back(value());
        } else if (word == "--group") {
            out.cell.groups.push_back(value());
        } else if (word == "--read") {
            out.cell.readable.push_back(value());
        } else if (word == "--write") {
            out.cell.writable.push_back(value());
        } else if (word == "--pid-file") {
            out.cell.pid_file = value();
        } else if (word == "--file-bytes") {
            out.cell.file_bytes_max = static_cast<std::int64_t>(number_of(value()));
        } else if (word == "--open-files") {
            out.cell.open_files_max = static_cast<std::int64_t>(number_of(value()));
        } else if (word == "--all-files") {
            out.cell.all_files = true;
        } else if (word == "--network") {
            out.cell.network = true;
        } else if (word == "--device-events") {
            out.cell.device_events = true;
        } else {
            fail("unknown option " + word);
        }
    }
    if (at + 1 >= words.size()) fail("no program");
    out.argv.assign(words.begin() + static_cast<std::ptrdiff_t>(at) + 1, words.end());
    return out;
}

void put(const std::string& path, int flags, const std::string& text) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0600);
    if (fd < 0 || ::write(fd, text.data(), text.size()) != std::ssize(text)) fail_errno(path);
    ::close(fd);
}

// Field 22 of /proc/self/stat; the name before it may hold anything but ends at the last `)`.
std::string start_ticks() {
    std::array<char, 2048> text{};
    const int fd = ::open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd < 0 ? -1 : ::read(fd, text.data(), text.size() - 1);
    if (got <= 0) fail_errno("/proc/self/stat");
    ::close(fd);
    std::string_view rest(text.data(), static_cast<std::size_t>(got));
    rest.remove_prefix(rest.rfind(')') + 2);
    constexpr int fields_before = 22 - 3;
    for (int field = 0; field < fields_before; ++field)
        rest.remove_prefix(rest.find(' ') + 1);
    return std::string(rest.substr(0, rest.find(' ')));
}

void set_limit(__rlimit_resource what, rlim_t value) {
    rlimit now{};
    ::getrlimit(what, &now);
    const rlim_t allowed = std::min(value, now.rlim_max);
    const rlimit wanted{allowed, allowed};
    if (::setrlimit(what, &wanted) != 0) fail_errno("setrlimit");
}

void limit_resources(const Cell& cell) {
    ::umask(077);
    set_limit(RLIMIT_CORE, 0);
    set_limit(RLIMIT_NOFILE, static_cast<rlim_t>(cell.open_files_max));
    if (cell.file_bytes_max <= 0) return;
    set_limit(RLIMIT_FSIZE, static_cast<rlim_t>(cell.file_bytes_max));
    // The write fails, instead of the program.
    std::signal(SIGXFSZ, SIG_IGN);
}

// Where execvp would find it: Landlock must be told before.
std::string found(const std::string& program) {
    if (program.contains('/')) return program;
    const char* set = std::getenv("PATH");
    std::string_view rest = set != nullptr ? set : "/usr/bin:/bin";
    while (!rest.empty()) {
        const std::string folder(rest.substr(0, rest.find(':')));
        rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
        const std::string path = folder + "/" + program;
        if (!folder.empty() && ::access(path.c_str(), X_OK) == 0) return path;
    }
    fail("there is no " + program);
}

bool kept(const Cell& cell, int number) {
    return std::ranges::any_of(capabilities, [&](const Capability& known) {
        return known.number == number && std::ranges::contains(cell.capabilities, known.name);
    });
}

void drop_privileges(const Cell& cell) {
    for (const std::string& name : cell.capabilities)
        if (!std::ranges::contains(capabilities, name, &Capability::name))
            fail("unknown capability " + name);
    // What is not in the bounding set no program below can get, whoever owns it.
    for (int number = 0; ::prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; ++number)
        if (!kept(cell, number) && ::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0)
            fail_errno("the bounding set");
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (::setgroups(0, nullptr) != 0 || ::setresgid(cell.uid, cell.uid, cell.uid) != 0 ||
        ::setresuid(cell.uid, cell.uid, cell.uid) != 0)
        fail_errno("the user");
    if (cell.uid == 0) return;
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> none{};
    if (::syscall(SYS_capset, &header, none.data()) != 0) fail_errno("capset");
}

[[noreturn]] void become(const Request& request) {
    const Cell& cell = request.cell;
    for (const std::string& group : cell.groups)
        put(group, 0, "0");
    if (!cell.pid_file.empty())
        put(cell.pid_file, O_CREAT | O_TRUNC | O_NOFOLLOW,
            std::to_string(::getpid()) + " " + start_ticks() + "\n");
    // Sockets are handed over to a process by its number, which whoever starts it cannot know.
    if (std::getenv("LISTEN_FDS") != nullptr)
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    limit_resources(cell);
    const std::string program = found(request.argv.front());
    const int opened = ::open(program.c_str(), O_PATH | O_CLOEXEC);
    const int files = cell.all_files ? -1 : file_rules(cell, program);
    drop_privileges(cell);
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail_errno("no_new_privs");
    if (files >= 0) enforce(files);
    forbid_calls(cell);
    std::vector<char*> arguments;
    for (const std::string& word : request.argv)
        arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execv(program.c_str(), arguments.data());
    // Its folders need not be open to the user, only the program. Not the first way, because the
    // process would go by the descriptor's number in ps.
    if (errno == EACCES) ::execveat(opened, "", arguments.data(), environ, AT_EMPTY_PATH);
    fail_errno(program);
}

}  // namespace

void fail(const std::string& why) {
    std::fprintf(stderr, "confine: %s\n", why.c_str());
    std::exit(126);
}

void fail_errno(const std::string& what) {
    fail(what + ": " + std::strerror(errno));
}

}  // namespace basalt::launcher

int main(int argc, char** argv) {
    basalt::launcher::become(basalt::launcher::parse(argc, argv));
}
