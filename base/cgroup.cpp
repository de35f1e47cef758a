#include "base/cgroup.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <ranges>
#include <set>

#include "base/fd.hpp"
#include "base/log.hpp"

namespace basalt {

namespace {

constexpr std::array controllers_known = {"memory", "pids", "cpu"};
constexpr const char* daemon_group = "daemon";
constexpr std::int64_t weight_default = 100;
// Ours has one weight against every other session of the machine, however many groups are in it.
constexpr CgroupLimits of_all = {.cpu_weight = 1000};
constexpr std::int64_t shares_default = 1024;  // what v1 calls the same

std::string text_of(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
}

bool is_folder(const std::string& path) {
    struct stat facts{};
    return stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
}

// 0, or the errno.
int write_to(const std::string& path, const std::string& text) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd) return errno;
    return ::write(fd.get(), text.data(), text.size()) == std::ssize(text) ? 0 : errno;
}

bool make_folder(const std::string& path) {
    if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return true;
    log::warn("cgroup_refused", {{"path", path}, {"error", std::strerror(errno)}});
    return false;
}

// The caller's group in the tree of `controller` ("" names the one tree of v2), from lines
// `NUMBER:CONTROLLER,CONTROLLER:/PATH`.
std::optional<std::string> own_group(const std::string& lines, const std::string& controller) {
    for (const auto part : std::views::split(lines, '\n')) {
        const std::string line(part.begin(), part.end());
        const auto first = line.find(':');
        const auto second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        // Between commas, so that no name is found within another.
        const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
        if (!names.contains("," + controller + ",")) continue;
        const std::string path = line.substr(second + 1);
        return path == "/" ? "" : path;
    }
    return std::nullopt;
}

void set(const std::string& folder, const char* file, const std::string& value) {
    const std::string path = folder + "/" + file;
    if (const int error = write_to(path, value); error != 0)
        log::warn("cgroup_limit_refused", {{"path", path}, {"error", std::strerror(error)}});
}

// A kernel without CPU bandwidth control has no such file: nothing to take a limit from.
void set_cpu_percent(Cgroups::Layout layout, const std::string& folder, std::int64_t percent) {
    constexpr std::int64_t period_us = 100'000;
    const bool v2 = layout == Cgroups::Layout::v2;
    const char* file = v2 ? "cpu.max" : "cpu.cfs_quota_us";
    if (percent <= 0 && ::access((folder + "/" + file).c_str(), W_OK) != 0) return;
    const std::string quota =
        percent > 0 ? std::to_string(percent * period_us / 100) : std::string(v2 ? "max" : "-1");
    if (!v2 && percent > 0) set(folder, "cpu.cfs_period_us", std::to_string(period_us));
    set(folder, file, v2 ? quota + " " + std::to_string(period_us) : quota);
}

void set_limit(Cgroups::Layout layout, const std::string& folder, const std::string& controller,
               const CgroupLimits& limits) {
    const bool v2 = layout == Cgroups::Layout::v2;
    if (controller == "memory" && limits.memory_bytes_max > 0)
        set(folder, v2 ? "memory.max" : "memory.limit_in_bytes",
            std::to_string(limits.memory_bytes_max));
    if (controller == "pids" && limits.pids_max > 0)
        set(folder, "pids.max", std::to_string(limits.pids_max));
    if (controller == "cpu") set_cpu_percent(layout, folder, limits.cpu_percent_max);
    if (controller == "cpu" && limits.cpu_weight > 0)
        set(folder, v2 ? "cpu.weight" : "cpu.shares",
            std::to_string(v2 ? limits.cpu_weight
                              : limits.cpu_weight * shares_default / weight_default));
}

}  // namespace

Cgroups::Cgroups(std::string name, const Places& places) : name_(std::move(name)) {
    if (::access((places.mounts + "/cgroup.controllers").c_str(), F_OK) == 0)
        find_v2(places);
    else
        find_v1(places);
}

void Cgroups::find_v1(const Places& places) {
    const std::string lines = text_of(places.own);
    for (const char* controller : controllers_known) {
        const std::string mount = places.mounts + "/" + controller;
        if (!is_folder(mount)) continue;
        std::string parent = mount + own_group(lines, controller).value_or("");
        // A container's view of the tree may begin at its own group.
        if (!is_folder(parent)) parent = mount;
        const std::string folder = parent + "/" + name_;
        if (!make_folder(folder)) continue;
        trees_.push_back({controller, folder});
        set_limit(Layout::v1, folder, controller, of_all);
    }
    if (!trees_.empty()) layout_ = Layout::v1;
}

void Cgroups::find_v2(const Places& places) {
    std::string parent = places.mounts + own_group(text_of(places.own), "").value_or("");
    if (!is_folder(parent)) parent = places.mounts;
    const std::string daemon = std::string("/") + daemon_group;
    if (parent.ends_with(daemon)) {
        parent.erase(parent.size() - daemon.size());
    } else if (parent != places.mounts && make_folder(parent + daemon)) {
        set(parent + daemon, "cgroup.procs", "0");
    }
    const std::string folder = parent + "/" + name_;
    if (!make_folder(folder)) return;
    layout_ = Layout::v2;
    trees_.push_back({"", folder});
    for (const char* controller : controllers_known) {
        const std::string on = std::string("+") + controller;
        if (write_to(parent + "/cgroup.subtree_control", on) == 0 &&
            write_to(folder + "/cgroup.subtree_control", on) == 0)
            enabled_.emplace_back(controller);
    }
    for (const std::string& controller : enabled_)
        set_limit(layout_, folder, controller, of_all);
}

std::vector<std::string> Cgroups::controllers() const {
    if (layout_ == Layout::v2) return enabled_;
    std::vector<std::string> out;
    for (const Tree& tree : trees_)
        out.push_back(tree.controller);
    return out;
}

std::vector<std::string> Cgroups::make(const std::string& group, const CgroupLimits& limits) {
    std::vector<std::string> joins;
    for (const Tree& tree : trees_) {
        const std::string folder = tree.folder + "/" + group;
        // Ours goes when it is empty (`remove`), and comes back here.
        if (!make_folder(tree.folder) || !make_folder(folder)) continue;
        if (layout_ == Layout::v1) set_limit(layout_, folder, tree.controller, limits);
        for (const std::string& controller : enabled_)
            set_limit(layout_, folder, controller, limits);
        joins.push_back(folder + "/cgroup.procs");
    }
    return joins;
}

void Cgroups::remove(const std::string& group) {
    for (const Tree& tree : trees_) {
        const std::string folder = tree.folder + "/" + group;
        if (::rmdir(folder.c_str()) != 0 && errno != ENOENT)
            log::debug("cgroup_kept", {{"path", folder}, {"error", std::strerror(errno)}});
    }
}

std::vector<pid_t> Cgroups::processes(const std::string& group) const {
    std::set<pid_t> found;
    for (const Tree& tree : trees_) {
        std::ifstream in(tree.folder + "/" + group + "/cgroup.procs");
        for (pid_t pid = 0; in >> pid;)
            found.insert(pid);
    }
    return {found.begin(), found.end()};
}

void Cgroups::kill(const std::string& group) {
    if (layout_ == Layout::v2 &&
        write_to(trees_.front().folder + "/" + group + "/cgroup.kill", "1") == 0)
        return;
    // Until nobody new is seen: a process may start another between the look and the signal.
    std::set<pid_t> sent;
    for (bool more = true; more;) {
        more = false;
        for (const pid_t pid : processes(group)) {
            ::kill(pid, SIGKILL);
            more = sent.insert(pid).second || more;
        }
    }
}

}  // namespace basalt
