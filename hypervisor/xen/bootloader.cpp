#include "hypervisor/xen/bootloader.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/system/system_error.hpp>
#include <filesystem>
#include <ranges>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

namespace fs = std::filesystem;

// Debian keeps the tools of each of Xen's releases in a folder of their own.
constexpr const char* program = "/usr/lib/xen-" BASALT_XEN_SERIES "/bin/pygrub";
// An idle machine needs a second or two; an emulated one half a minute.
constexpr Duration search_limit = 300s;
constexpr std::size_t words_max = 500;
constexpr mode_t group_reads = 0640;

/// A device's node is for root and one group, which may read it, until this goes.
class ReadableBy {
  public:
    ReadableBy(std::string node, gid_t group) : node_(std::move(node)) {
        if (::stat(node_.c_str(), &before_) != 0) throw err::internal_error("no " + node_);
        if (::chown(node_.c_str(), 0, group) != 0 || ::chmod(node_.c_str(), group_reads) != 0)
            log::warn("disk_not_shown", {{"device", node_}});
    }

    ReadableBy(const ReadableBy&) = delete;
    ReadableBy& operator=(const ReadableBy&) = delete;

    ~ReadableBy() {
        constexpr mode_t permissions = 07777;
        if (::chown(node_.c_str(), before_.st_uid, before_.st_gid) != 0 ||
            ::chmod(node_.c_str(), before_.st_mode & permissions) != 0)
            log::warn("disk_stays_shown", {{"device", node_}});
    }

  private:
    std::string node_;
    struct stat before_{};
};

Command command_of(const KernelSearch& search) {
    std::vector<std::string> argv = {program,
                                     "--quiet",
                                     "--runas=" + std::to_string(search.user),
                                     "--output-format=simple0",
                                     "--output-directory=" + search.folder,
                                     "--args=" + search.boot.args};
    for (const std::string& word : search.boot.bootloader_args)
        argv.push_back(word);
    argv.push_back(search.device);
    return {.argv = std::move(argv), .env = {}, .directory = {}, .inherit = {}};
}

void make_anew(const std::string& folder) {
    fs::remove_all(folder);
    fs::create_directories(folder);
    fs::permissions(folder, fs::perms::owner_all);
}

// Its last words say why.
std::string end_of(std::string text) {
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
        text.pop_back();
    return text.size() > words_max ? text.substr(text.size() - words_max) : text;
}

}  // namespace

std::optional<FoundKernel> parse_found(std::string_view said, const std::string& folder) {
    const fs::path within = fs::path(folder).lexically_normal();
    FoundKernel out;
    const auto take_file = [&](std::string& into, std::string_view name) {
        const fs::path path = fs::path(name).lexically_normal();
        if (path.parent_path() == within) into = path.string();
        return !into.empty();
    };
    for (const auto part : std::views::split(said, '\0')) {
        const std::string_view line(part.begin(), part.end());
        const auto rest = [&](std::string_view key) { return line.substr(key.size()); };
        if (line.starts_with("kernel ")) {
            if (!take_file(out.kernel, rest("kernel "))) return std::nullopt;
        } else if (line.starts_with("ramdisk ")) {
            if (!take_file(out.ramdisk, rest("ramdisk "))) return std::nullopt;
        } else if (line.starts_with("args ")) {
            out.args = rest("args ");
        }
    }
    if (out.kernel.empty()) return std::nullopt;
    return out;
}

Task<FoundKernel> find_kernel(RealLoop& loop, KernelSearch search) {
    co_await blocking(loop, [folder = search.folder] { make_anew(folder); });
    Output said;
    {
        const ReadableBy shown(search.device, search.user);
        try {
            said = co_await run_command(loop, command_of(search), search_limit);
        } catch (const ApiError& error) {
            said.err = error.what();
        } catch (const boost::system::system_error& error) {
            if (error.code() == boost::asio::error::operation_aborted) throw;
            said.err = error.what();
        }
    }
    // Its status says nothing: of a failure in its child it makes success.
    std::optional<FoundKernel> found = parse_found(said.out, search.folder);
    if (!found) throw err::bootloader_failed(search.vm, end_of(said.err));
    log::info("kernel_found", {{"vm", search.vm}, {"args", found->args}});
    co_return *std::move(found);
}

}  // namespace basalt::hv::xen
