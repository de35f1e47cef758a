#include "network-manager/linux/sriov.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>

namespace basalt::nm::links {

namespace {

namespace fs = std::filesystem;

std::int64_t count_in(const fs::path& file) {
    std::ifstream in(file);
    std::string line;
    std::getline(in, line);
    std::int64_t out = 0;
    const auto parsed = std::from_chars(line.data(), line.data() + line.size(), out);
    const bool whole = parsed.ec == std::errc() && parsed.ptr == line.data() + line.size();
    return whole ? std::max<std::int64_t>(out, 0) : 0;
}

}  // namespace

Sriov read_sriov(const std::string& folder) {
    Sriov out;
    out.vfs_max = count_in(fs::path(folder) / "sriov_totalvfs");
    out.vfs = std::min(count_in(fs::path(folder) / "sriov_numvfs"), out.vfs_max);
    std::error_code none;
    // A link of the kernel's to the card's own folder, which is named by its address.
    out.card = fs::read_symlink(fs::path(folder) / "physfn", none).filename();
    return out;
}

}  // namespace basalt::nm::links
