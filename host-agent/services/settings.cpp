// The texts behind a machine's settings: no loop, no service.
#include <arpa/inet.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <format>
#include <fstream>
#include <string_view>
#include <system_error>

#include "base/fd.hpp"
#include "host-agent/services/machine.hpp"

namespace basalt::agent {

namespace {

constexpr std::size_t hostname_bytes_max = 63;
constexpr std::size_t server_bytes_max = 253;
constexpr std::size_t kernel_text_bytes_max = std::size_t{512} << 10;
constexpr std::size_t record_bytes_max = 8192;  // the kernel's own limit of a record

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_address(const std::string& text) {
    std::array<unsigned char, sizeof(in6_addr)> bytes{};
    return ::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1 ||
           ::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1;
}

bool is_label(std::string_view label) {
    return !label.empty() && label.size() <= hostname_bytes_max &&
           is_letter_or_digit(label.front()) && is_letter_or_digit(label.back()) &&
           std::ranges::all_of(label, [](char c) { return is_letter_or_digit(c) || c == '-'; });
}

// A compiled zone begins so (RFC 8536).
bool is_zone(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    std::array<char, 4> magic{};
    return in.read(magic.data(), magic.size()) && std::string_view(magic.data(), 4) == "TZif";
}

// `priority,number,microseconds,flags;message`, then lines of `KEY=value` that begin with a blank.
void append_record(std::string_view record, KernelLog& out) {
    const std::size_t end = record.find(';');
    if (end == std::string_view::npos) return;
    std::array<std::uint64_t, 3> numbers{};
    const char* at = record.data();
    for (std::uint64_t& number : numbers) {
        const auto [next, failed] = std::from_chars(at, record.data() + end, number);
        if (failed != std::errc{}) return;
        at = next + 1;
    }
    const std::string_view message = record.substr(end + 1);
    out.text += std::format("[{:5}.{:06}] {}\n", numbers[2] / 1'000'000, numbers[2] % 1'000'000,
                            message.substr(0, message.find('\n')));
    out.next = numbers[1] + 1;
}

std::uint64_t number_of(std::string_view record) {
    const std::size_t comma = record.find(',');
    std::uint64_t number = 0;
    if (comma != std::string_view::npos)
        std::from_chars(record.data() + comma + 1, record.data() + record.size(), number);
    return number;
}

void keep_newest(std::string& text) {
    if (text.size() <= kernel_text_bytes_max) return;
    const std::size_t line = text.find('\n', text.size() - kernel_text_bytes_max);
    text.erase(0, line == std::string::npos ? 0 : line + 1);
}

}  // namespace

namespace settings {

std::optional<std::string> why_no_hostname(const std::string& name) {
    if (name.empty()) return "it is empty";
    if (name.size() > hostname_bytes_max)
        return std::format("it has more than {} characters", hostname_bytes_max);
    if (!is_label(name))
        return "only letters, digits and hyphens may be in it, and no hyphen at its ends";
    if (std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; }))
        return "it has digits only";
    return std::nullopt;
}

bool is_server(const std::string& text) {
    if (text.size() > server_bytes_max) return false;
    if (is_address(text)) return true;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find('.', begin), text.size());
        if (!is_label(std::string_view(text).substr(begin, end - begin))) return false;
        begin = end + 1;
    }
    return true;
}

std::vector<std::string> timezones(const std::string& folder) {
    namespace fs = std::filesystem;
    std::vector<std::string> out;
    std::error_code failed;
    for (fs::recursive_directory_iterator at(folder, failed), end; !failed && at != end;
         at.increment(failed)) {
        const std::string name = fs::path(at->path()).lexically_relative(folder);
        if (name == "posix" || name == "right") {
            at.disable_recursion_pending();
            continue;
        }
        std::error_code gone;
        if (at->is_regular_file(gone) && name != "localtime" && name != "posixrules" &&
            is_zone(at->path()))
            out.push_back(name);
    }
    std::ranges::sort(out);
    return out;
}

bool is_cstate(const std::string& text) {
    const auto is_number = [](std::string_view part) {
        return !part.empty() && part.size() <= 3 &&
               std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
    };
    if (text.empty()) return true;
    const std::size_t comma = std::min(text.find(','), text.size());
    return is_number(std::string_view(text).substr(0, comma)) &&
           (comma == text.size() || is_number(std::string_view(text).substr(comma + 1)));
}

std::string ntp_sources(const NtpWant& want) {
    // The state is a part of the text, so that switching on or off is a change of it.
    std::string out =
        want.enabled ? "# The clock follows these.\n" : "# The clock is left alone.\n";
    for (const std::string& server : want.servers)
        out += "server " + server + " iburst\n";
    return out;
}

std::string syslog_rule(const std::string& destination) {
    if (destination.empty()) return {};
    const std::size_t colon = destination.rfind(':');
    const bool has_port = colon != std::string::npos && destination.find(':') == colon;
    const std::string host = has_port ? destination.substr(0, colon) : destination;
    const std::string port = has_port ? destination.substr(colon + 1) : "514";
    return std::format("*.* action(type=\"omfwd\" target=\"{}\" port=\"{}\" protocol=\"udp\")\n",
                       host, port);
}

std::string console_timeout(std::int64_t seconds) {
    if (seconds == 0) return {};
    return std::format("TMOUT={}\nreadonly TMOUT\nexport TMOUT\n", seconds);
}

std::map<std::string, std::string> sources_of(const std::string& chronyc) {
    // Source: chronyc(1), sources; the second column is the state, the third the name.
    static const std::map<std::string, std::string, std::less<>> states = {
        {"*", "synchronized"}, {"+", "combined"},    {"-", "not combined"},
        {"?", "unreachable"},  {"x", "falseticker"}, {"~", "too variable"}};
    std::map<std::string, std::string> out;
    for (std::size_t begin = 0; begin < chronyc.size();) {
        const std::size_t end = std::min(chronyc.find('\n', begin), chronyc.size());
        const std::string_view line = std::string_view(chronyc).substr(begin, end - begin);
        begin = end + 1;
        const std::size_t first = line.find(',');
        const std::size_t second = line.find(',', first + 1);
        const std::size_t third = line.find(',', second + 1);
        if (third == std::string_view::npos) continue;
        const auto state = states.find(line.substr(first + 1, second - first - 1));
        out.emplace(line.substr(second + 1, third - second - 1),
                    state == states.end() ? "unknown" : state->second);
    }
    return out;
}

}  // namespace settings

KernelLog read_kernel_log(std::uint64_t first) {
    const UniqueFd file(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!file) throw std::system_error(errno, std::generic_category(), "/dev/kmsg");
    KernelLog out{.text = {}, .next = first};
    std::array<char, record_bytes_max> buffer{};
    for (;;) {
        const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
        if (got < 0 && errno == EPIPE) continue;  // overwritten meanwhile: the next one is there
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) break;
        if (got < 0) throw std::system_error(errno, std::generic_category(), "/dev/kmsg");
        if (got == 0) break;
        const std::string_view record(buffer.data(), static_cast<std::size_t>(got));
        if (number_of(record) >= first) append_record(record, out);
    }
    keep_newest(out.text);
    return out;
}

}  // namespace basalt::agent
