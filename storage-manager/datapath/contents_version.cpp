#include "storage-manager/datapath/contents_version.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <format>
#include <fstream>

#include "base/encoding.hpp"
#include "base/fd.hpp"
#include "storage-manager/datapath/chain.hpp"

namespace basalt::sm {

namespace {

// Opened, because NFS asks the server anew then; a look at a name may answer from a cache.
std::string version_of(const std::string& path) {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat facts{};
    if (!file || ::fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return {};
    return std::format("{} {} {}.{:09}\n", facts.st_ino, facts.st_size, facts.st_mtim.tv_sec,
                       facts.st_mtim.tv_nsec);
}

std::string this_boot() {
    std::string id;
    std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), id);
    return id;
}

}  // namespace

std::string contents_version(const Attachment& disk) {
    std::string all = this_boot();
    if (all.empty()) return {};
    all += '\n';
    for (const Image& image : disk.chain) {
        const std::string one = is_remote(image) ? std::string() : version_of(image.path);
        if (one.empty()) return {};
        all += one;
    }
    return sha256_hex(all).substr(0, 32);
}

}  // namespace basalt::sm
