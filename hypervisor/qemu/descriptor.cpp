#include "hypervisor/qemu/descriptor.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/json.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace {

constexpr const char* boot_id_file = "/proc/sys/kernel/random/boot_id";

[[noreturn]] void throw_errno(const std::string& what) {
    throw err::internal_error(what + ": " + std::strerror(errno));
}

void write_all(int fd, std::string_view text, const std::string& path) {
    while (!text.empty()) {
        const ssize_t sent = ::write(fd, text.data(), text.size());
        if (sent < 0) throw_errno(path);
        text.remove_prefix(static_cast<std::size_t>(sent));
    }
}

}  // namespace

void to_json(Json& json, const Descriptor& value) {
    json = {{"dom", value.dom},         {"complete", value.complete},
            {"pid", value.pid},         {"process_start", value.process_start},
            {"tpm_pid", value.tpm_pid}, {"tpm_process_start", value.tpm_process_start},
            {"boot_id", value.boot_id}, {"started_at", value.started_at},
            {"machine", value.machine}, {"config", value.config}};
}

void from_json(const Json& json, Descriptor& value) {
    json.at("dom").get_to(value.dom);
    json.at("complete").get_to(value.complete);
    json.at("pid").get_to(value.pid);
    json.at("process_start").get_to(value.process_start);
    value.tpm_pid = json.value("tpm_pid", 0);
    value.tpm_process_start = json.value("tpm_process_start", std::uint64_t{0});
    json.at("boot_id").get_to(value.boot_id);
    json.at("started_at").get_to(value.started_at);
    json.at("machine").get_to(value.machine);
    json.at("config").get_to(value.config);
}

void write_file(const std::string& path, const std::string& text) {
    const std::string fresh = path + ".new";
    {
        const UniqueFd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        if (!file) throw_errno(fresh);
        write_all(file.get(), text, fresh);
        if (::fdatasync(file.get()) != 0) throw_errno(fresh);
    }
    if (std::rename(fresh.c_str(), path.c_str()) != 0) throw_errno(path);
}

std::string read_file(const std::string& path) {
    const std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return file ? text.str() : std::string();
}

std::optional<Descriptor> read_descriptor(const std::string& path) {
    const Json json = Json::parse(read_file(path), nullptr, false);
    if (!json.is_object()) return std::nullopt;
    try {
        return json.get<Descriptor>();
    } catch (const Json::exception&) {
        return std::nullopt;
    }
}

std::string host_boot_id() {
    std::string id = read_file(boot_id_file);
    if (!id.empty() && id.back() == '\n') id.pop_back();
    return id;
}

std::uint64_t process_start(pid_t pid) {
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    // The name in parentheses may hold anything; what follows it is fields 3 and up.
    const auto name_end = stat.rfind(')');
    if (name_end == std::string::npos) return 0;
    std::istringstream fields(stat.substr(name_end + 1));
    std::string word;
    constexpr int state_field = 3;
    constexpr int start_field = 22;
    for (int field = state_field; field <= start_field && fields >> word; ++field)
        if (field == state_field && (word == "Z" || word == "X")) return 0;
    std::uint64_t ticks = 0;
    std::from_chars(word.data(), word.data() + word.size(), ticks);
    return ticks;
}

std::vector<pid_t> processes_mentioning(const std::string& text) {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        pid_t pid = 0;
        const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) continue;
        if (pid == getpid()) continue;
        if (read_file(entry.path() / "cmdline").contains(text)) found.push_back(pid);
    }
    return found;
}

DomId next_domid(const std::string& path) {
    const std::string text = read_file(path);
    DomId last = 0;
    std::from_chars(text.data(), text.data() + text.size(), last);
    write_file(path, std::to_string(last + 1));
    return last + 1;
}

}  // namespace basalt::hv::qemu
