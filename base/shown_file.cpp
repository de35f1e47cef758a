#include "base/shown_file.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

#include "base/fd.hpp"

namespace basalt {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_errno(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

void write_map(const std::string& path, const std::string& text) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd || ::write(fd.get(), text.data(), text.size()) != std::ssize(text)) throw_errno(path);
}

int wait_for_the_end(void*) {
    for (;;)
        ::pause();
}

// A process that waits in a user namespace of its own until this object goes. It shares our memory,
// as a copy of it would cost more than all else, but touches none of it.
class NamespaceHolder {
  public:
    NamespaceHolder() {
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        // The child keeps this mask: only the signal that ends it gets through.
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
        pid_ = ::clone(wait_for_the_end, stack_.data() + stack_.size(),
                       CLONE_VM | CLONE_NEWUSER | SIGCHLD, nullptr);
        const int error = errno;
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        errno = error;
        if (pid_ < 0) throw_errno("a user namespace");
    }

    NamespaceHolder(const NamespaceHolder&) = delete;
    NamespaceHolder& operator=(const NamespaceHolder&) = delete;

    ~NamespaceHolder() {
        ::kill(pid_, SIGKILL);
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
        }
    }

    [[nodiscard]] std::string proc() const { return "/proc/" + std::to_string(pid_); }

  private:
    alignas(16) std::array<char, 16384> stack_{};
    pid_t pid_ = -1;
};

UniqueFd make_map(uid_t owner, gid_t group, uid_t uid) {
    const NamespaceHolder holder;
    write_map(holder.proc() + "/uid_map", std::to_string(owner) + " " + std::to_string(uid) + " 1");
    write_map(holder.proc() + "/gid_map", std::to_string(group) + " " + std::to_string(uid) + " 1");
    UniqueFd space(::open((holder.proc() + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
    if (!space) throw_errno("the user namespace");
    return space;
}

UniqueFd detached_copy(int file, const std::string& path) {
    UniqueFd tree(::open_tree(file, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (!tree) throw_errno("open_tree " + path);
    return tree;
}

bool owned_as(const UniqueFd& tree, int map) {
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<std::uint64_t>(map);
    return ::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0;
}

void make_plain(const UniqueFd& tree, bool read_only) {
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    if (read_only) attributes.attr_set |= MOUNT_ATTR_RDONLY;
    if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
        throw_errno("mount_setattr");
}

void mount_file(const ShownFile& file, int source, const struct stat& facts, int map) {
    const UniqueFd tree = detached_copy(source, file.path);
    if (!owned_as(tree, map)) {
        const bool everybody = file.read_only && (facts.st_mode & S_IROTH) != 0;
        if (!everybody) throw_errno(file.path + ": its file system cannot map owners");
    }
    make_plain(tree, file.read_only);
    const UniqueFd place(::open(file.at.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!place) throw_errno(file.at);
    if (::move_mount(tree.get(), "", AT_FDCWD, file.at.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0)
        return;
    const int error = errno;
    ::unlink(file.at.c_str());
    errno = error;
    throw_errno(file.at);
}

// The file system of /dev maps no owners, but a device is its number: the user gets a node.
void make_node(const ShownFile& file, const struct stat& facts) {
    const mode_t mode = S_IFBLK | (file.read_only ? 0400U : 0600U);
    if (::mknod(file.at.c_str(), mode, facts.st_rdev) != 0) throw_errno(file.at);
    if (::chown(file.at.c_str(), file.uid, file.uid) == 0) return;
    const int error = errno;
    ::unlink(file.at.c_str());
    errno = error;
    throw_errno(file.at);
}

}  // namespace

int OwnerMaps::get(uid_t owner, gid_t group, uid_t uid) {
    UniqueFd& map = known_[{owner, group, uid}];
    if (!map) map = make_map(owner, group, uid);
    return map.get();
}

void show_file(const ShownFile& file, OwnerMaps& maps) {
    const UniqueFd source(::open(file.path.c_str(), O_PATH | O_CLOEXEC));
    struct stat facts{};
    if (!source || ::fstat(source.get(), &facts) != 0) throw_errno(file.path);
    if (S_ISBLK(facts.st_mode)) return make_node(file, facts);
    if (!S_ISREG(facts.st_mode)) {
        errno = EINVAL;
        throw_errno(file.path + " is not a file");
    }
    mount_file(file, source.get(), facts, maps.get(facts.st_uid, facts.st_gid, file.uid));
}

void make_show_folder(const std::string& folder, uid_t uid) {
    fs::create_directories(folder);
    if (::chown(folder.c_str(), 0, uid) != 0 || ::chmod(folder.c_str(), 0710) != 0)
        throw_errno(folder);
}

void hide_file(const std::string& at) noexcept {
    ::umount2(at.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    ::unlink(at.c_str());
}

void hide_files(const std::string& folder) noexcept {
    std::error_code failed;
    for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end;
         entry.increment(failed))
        hide_file(entry->path().string());
}

}  // namespace basalt
