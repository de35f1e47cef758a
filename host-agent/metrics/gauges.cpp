#include "host-agent/metrics/gauges.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace basalt::agent {

namespace {

constexpr double ns_per_second = 1e9;

std::vector<std::string> lines_of(const std::string& path) {
    std::ifstream file(path);
    std::vector<std::string> out;
    for (std::string line; std::getline(file, line);)
        out.push_back(std::move(line));
    return out;
}

/// Takes numbers off a line, one by one; 0 when there is none left.
class Numbers {
  public:
    explicit Numbers(std::string_view line) : line_(line) {}

    template <class N = std::int64_t>
    N next() {
        line_.remove_prefix(std::min(line_.find_first_not_of(" \t"), line_.size()));
        N value{};
        const auto end = std::from_chars(line_.data(), line_.data() + line_.size(), value).ptr;
        line_.remove_prefix(static_cast<std::size_t>(end - line_.data()));
        return value;
    }

  private:
    std::string_view line_;
};

// "cpu3 user nice system idle iowait irq softirq steal ...": in ticks. What a guest ran is in user.
std::vector<double> busy_seconds(const std::vector<std::string>& stat) {
    const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    std::vector<double> out;
    for (const std::string& line : stat) {
        if (!line.starts_with("cpu") || line.starts_with("cpu ")) continue;
        const std::size_t space = line.find(' ');
        if (space == std::string::npos) continue;
        Numbers numbers(std::string_view(line).substr(space));
        std::int64_t busy = numbers.next() + numbers.next() + numbers.next();
        numbers.next();  // idle
        numbers.next();  // idle too, with a disk to wait for
        busy += numbers.next() + numbers.next() + numbers.next();
        out.push_back(static_cast<double>(busy) / ticks);
    }
    return out;
}

std::int64_t kib_of(const std::vector<std::string>& meminfo, std::string_view key) {
    for (const std::string& line : meminfo)
        if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ':')
            return Numbers(std::string_view(line).substr(key.size() + 1)).next();
    return 0;
}

// "  eth0: bytes packets errs drop fifo frame compressed multicast" and the same for sent ones.
void take_link(const std::string& line, const std::vector<std::string>& wanted,
               std::map<std::string, LinkCounters>& out) {
    const std::size_t colon = line.find(':');
    const std::size_t begin = line.find_first_not_of(' ');
    if (colon == std::string::npos || begin >= colon) return;
    const std::string name = line.substr(begin, colon - begin);
    if (!std::ranges::contains(wanted, name)) return;
    Numbers numbers(std::string_view(line).substr(colon + 1));
    LinkCounters counters;
    counters.rx_bytes = numbers.next();
    numbers.next();
    counters.rx_errors = numbers.next();
    for (int skipped = 0; skipped < 5; ++skipped)
        numbers.next();
    counters.tx_bytes = numbers.next();
    numbers.next();
    counters.tx_errors = numbers.next();
    out.emplace(name, counters);
}

// 0 when there is no such file.
double number_in(const std::filesystem::path& path) {
    std::ifstream file(path);
    double value = 0;
    file >> value;
    return file ? value : 0;
}

// The mean since the file was read last where the kernel counts it, else what it is just now.
double mhz_of(const std::filesystem::path& cpu) {
    constexpr double khz_per_mhz = 1000;
    const double mean = number_in(cpu / "cpufreq" / "cpuinfo_avg_freq");
    return (mean > 0 ? mean : number_in(cpu / "cpufreq" / "scaling_cur_freq")) / khz_per_mhz;
}

std::vector<double> sleep_seconds(const std::filesystem::path& cpu) {
    constexpr double us_per_second = 1e6;
    std::vector<double> out;
    for (;;) {
        const auto state = cpu / "cpuidle" / ("state" + std::to_string(out.size()));
        if (std::error_code gone; !std::filesystem::exists(state / "time", gone)) return out;
        out.push_back(number_in(state / "time") / us_per_second);
    }
}

}  // namespace

HostReading read_proc(const std::string& proc, const std::vector<std::string>& links) {
    HostReading out;
    out.cpu_busy_seconds = busy_seconds(lines_of(proc + "/stat"));
    const auto load = lines_of(proc + "/loadavg");
    if (!load.empty()) out.load_average = Numbers(load.front()).next<double>();
    const auto meminfo = lines_of(proc + "/meminfo");
    out.memory_total_kib = kib_of(meminfo, "MemTotal");
    out.memory_free_kib = kib_of(meminfo, "MemAvailable");
    std::vector<std::string> wanted = links;
    std::ranges::sort(wanted);
    for (const std::string& line : lines_of(proc + "/self/net/dev"))
        take_link(line, wanted, out.links);
    return out;
}

void read_processors(const std::string& sys, HostReading& out) {
    const std::filesystem::path folder = std::filesystem::path(sys) / "devices/system/cpu";
    for (std::size_t i = 0; i < out.cpu_busy_seconds.size(); ++i) {
        const std::filesystem::path cpu = folder / ("cpu" + std::to_string(i));
        out.cpu_mhz.push_back(mhz_of(cpu));
        out.cpu_sleep_seconds.push_back(sleep_seconds(cpu));
    }
}

Task<HostReading> ProcGauges::read(std::vector<std::string> links) {
    const std::int64_t wall_ns = loop_.wall_ns();
    HostReading out = co_await blocking(loop_, [proc = proc_, sys = sys_, links] {
        HostReading read = read_proc(proc, links);
        read_processors(sys, read);
        return read;
    });
    out.wall_ns = wall_ns;
    co_return out;
}

Task<HostReading> SimGauges::read(std::vector<std::string> links) {
    constexpr std::int64_t bytes_per_second = 1'000'000;
    HostReading out;
    out.wall_ns = loop_.wall_ns();
    const double seconds = static_cast<double>(out.wall_ns) / ns_per_second;
    for (std::int64_t i = 0; i < cpu_count_; ++i)
        out.cpu_busy_seconds.push_back(seconds * 0.1 *
                                       static_cast<double>(std::min<std::int64_t>(i + 1, 9)));
    out.load_average = 0.5;
    out.memory_total_kib = memory_total_bytes_ / 1024;
    out.memory_free_kib = out.memory_total_kib / 4;
    const auto received = static_cast<std::int64_t>(seconds * bytes_per_second);
    for (const std::string& name : links)
        out.links.emplace(name, LinkCounters{.rx_bytes = received, .tx_bytes = received / 2});
    co_return out;
}

}  // namespace basalt::agent
