#include "base/durable_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "base/fd.hpp"

namespace basalt {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void throw_errno(const fs::path& path) {
    throw std::system_error(errno, std::generic_category(), path.string());
}

void write_all(int file, std::string_view text, const fs::path& path) {
    while (!text.empty()) {
        const ssize_t count = ::write(file, text.data(), text.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_errno(path);
        text.remove_prefix(static_cast<std::size_t>(count));
    }
}

void sync(const fs::path& path, int flags) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags));
    if (!fd || ::fsync(fd.get()) != 0) throw_errno(path);
}

}  // namespace

void sync_folder(const fs::path& folder) {
    sync(folder, O_DIRECTORY);
}

void rename_durably(const fs::path& from, const fs::path& to) {
    sync(from, 0);
    fs::rename(from, to);
    sync_folder(to.has_parent_path() ? to.parent_path() : ".");
}

void write_durably(const fs::path& path, std::string_view text, mode_t mode) {
    const fs::path fresh = path.string() + ".new";
    {
        const UniqueFd fd(
            ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
        if (!fd) throw_errno(fresh);
        write_all(fd.get(), text, fresh);
    }
    rename_durably(fresh, path);
}

}  // namespace basalt
