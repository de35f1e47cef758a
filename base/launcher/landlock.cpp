#include "base/launcher/landlock.hpp"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace basalt::launcher {

namespace {

constexpr std::uint64_t to_read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t of_files = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                   LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_TRUNCATE |
                                   LANDLOCK_ACCESS_FS_IOCTL_DEV;
// No links, devices, folders: what is written is files, in place.
constexpr std::uint64_t to_write = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                   LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_READ_DIR |
                                   LANDLOCK_ACCESS_FS_IOCTL_DEV;

// All rights that the version knows are refused unless a rule gives them.
std::uint64_t known_rights(int version) {
    std::uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1U) - 1;
    if (version >= 2) rights |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3) rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
    if (version >= 5) rights |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
    return rights;
}

landlock_ruleset_attr rules_of(const Cell& cell, int version) {
    landlock_ruleset_attr out{};
    out.handled_access_fs = known_rights(version);
    if (version >= 4 && !cell.network)
        out.handled_access_net = LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP;
    if (version >= 6) out.scoped = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL;
    return out;
}

class Rules {
  public:
    Rules(int fd, std::uint64_t known) : fd_(fd), known_(known) {}

    void allow(const std::string& path, std::uint64_t rights) const {
        const int target = ::open(path.c_str(), O_PATH | O_CLOEXEC);
        struct stat facts{};
        if (target < 0 || ::fstat(target, &facts) != 0) fail_errno(path);
        if (!S_ISDIR(facts.st_mode)) rights &= of_files;
        landlock_path_beneath_attr rule{};
        rule.allowed_access = rights & known_;
        rule.parent_fd = target;
        if (::syscall(SYS_landlock_add_rule, fd_, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
            fail_errno("landlock " + path);
        ::close(target);
    }

    void allow_if_there(const std::string& path, std::uint64_t rights) const {
        if (::access(path.c_str(), F_OK) == 0) allow(path, rights);
    }

  private:
    int fd_;
    std::uint64_t known_;
};

}  // namespace

int file_rules(const Cell& cell, const std::string& program) {
    const auto version = static_cast<int>(
        ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION));
    if (version < 1) {
        std::fprintf(stderr, "confine: this kernel has no Landlock\n");
        return -1;
    }
    const landlock_ruleset_attr attributes = rules_of(cell, version);
    const auto fd =
        static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0));
    if (fd < 0) fail_errno("landlock");
    const Rules rules(fd, attributes.handled_access_fs);
    rules.allow(program, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE);
    // What runs a program that is linked dynamically, and what such a program opens by itself.
    rules.allow_if_there("/lib64/ld-linux-x86-64.so.2",
                         LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE);
    for (const char* folder : {"/usr/lib", "/usr/lib64", "/usr/share", "/etc/ld.so.cache"})
        rules.allow_if_there(folder, to_read);
    for (const char* device : {"/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"})
        rules.allow_if_there(device, to_write);
    for (const std::string& path : cell.readable)
        rules.allow(path, to_read);
    for (const std::string& path : cell.writable)
        rules.allow(path, to_write);
    return fd;
}

void enforce(int rules) {
    if (::syscall(SYS_landlock_restrict_self, rules, 0) != 0) fail_errno("landlock");
    ::close(rules);
}

}  // namespace basalt::launcher
