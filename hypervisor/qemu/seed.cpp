#include "hypervisor/qemu/seed.hpp"

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <cctype>
#include <filesystem>

#include "base/error.hpp"
#include "base/subprocess.hpp"
#include "hypervisor/qemu/descriptor.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace {

constexpr Duration tool_limit = 30s;
constexpr std::size_t name_bytes_max = 64;

bool is_file_name(const std::string& name) {
    return !name.empty() && name.size() <= name_bytes_max && name.front() != '-' &&
           name.front() != '.' && std::ranges::all_of(name, [](unsigned char c) {
               return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
           });
}

Task<void> run_tool(RealLoop& loop, std::vector<std::string> argv, std::string input = {}) {
    const std::string tool = argv.front();
    // Without its check mtools refuse what is no floppy of a size they know.
    const Command command{.argv = std::move(argv), .env = {"MTOOLS_SKIP_CHECK=1", "MTOOLSRC="}};
    std::string failure;
    try {
        const Output output = co_await run_command(loop, command, tool_limit, std::move(input));
        if (output.status != 0) failure = output.err.empty() ? "failed" : output.err;
    } catch (const boost::system::system_error& error) {
        failure = error.what();
    }
    if (!failure.empty()) throw err::internal_error(tool + ": " + failure);
}

}  // namespace

Task<void> make_seed(RealLoop& loop, std::string path, agent::SeedDrive seed) {
    for (const auto& [name, content] : seed.files)
        if (!is_file_name(name)) throw err::invalid_value("cloud-init", name.substr(0, 64));
    co_await blocking(loop, [path] {
        write_file(path, {});
        std::filesystem::resize_file(path, static_cast<std::uintmax_t>(seed_bytes));
    });
    std::vector<std::string> format = {"mformat", "-i", path, "-T",
                                       std::to_string(seed_bytes / 512)};
    for (const char* word : {"-h", "1", "-s", "32", "-v"})
        format.emplace_back(word);
    format.push_back(seed.label);
    format.emplace_back("::");
    co_await run_tool(loop, std::move(format));
    for (const auto& [name, content] : seed.files) {
        std::vector<std::string> copy = {"mcopy", "-i", path, "-", "::" + name};
        co_await run_tool(loop, std::move(copy), content);
    }
}

}  // namespace basalt::hv::qemu
