#include "host-agent/services/machine.hpp"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <boost/system/system_error.hpp>
#include <charconv>
#include <filesystem>
#include <fstream>

#include "base/durable_file.hpp"
#include "base/log.hpp"
#include "base/real_net.hpp"
#include "host-agent/services/clock.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

namespace {

namespace fs = std::filesystem;

constexpr int nobody_can = 3;  // what host-control exits with
constexpr int is_booted_from = 4;
constexpr Duration service_limit = std::chrono::seconds(60);
constexpr Duration quick_limit = std::chrono::seconds(10);
constexpr std::size_t log_bytes_max = std::size_t{512} << 10;
constexpr std::size_t account_bytes_max = 65536;

const std::string hostname_file = "hostname";
const std::string sources_file = "chrony/sources.d/basalt.sources";
const std::string syslog_file = "rsyslog.d/60-basalt.conf";
const std::string console_file = "profile.d/basalt-idle.sh";
const std::string initiator_file = "iscsi/initiatorname.iscsi";
constexpr std::string_view initiator_key = "InitiatorName=";

std::optional<std::string> read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(in), {});
}

/// Nothing: no file.
void write_file(const std::string& path, const std::optional<std::string>& text) {
    if (!text) {
        fs::remove(path);
        return;
    }
    fs::create_directories(fs::path(path).parent_path());
    write_durably(path, *text, 0644);
}

void replace_link(const std::string& path, const fs::path& target) {
    const std::string fresh = path + ".new";
    fs::create_directories(fs::path(path).parent_path());
    fs::remove(fresh);
    fs::create_symlink(target, fresh);
    fs::rename(fresh, path);
}

std::string first_line(const std::string& text) {
    return text.substr(0, text.find('\n'));
}

std::string newest(std::string text) {
    if (text.size() <= log_bytes_max) return text;
    const std::size_t line = text.find('\n', text.size() - log_bytes_max);
    return line == std::string::npos ? std::string() : text.substr(line + 1);
}

bool is_initiator(const std::string& name) {
    // RFC 3720 3.2.6: iqn., eui. or naa., then a name without blanks.
    const bool kind =
        name.starts_with("iqn.") || name.starts_with("eui.") || name.starts_with("naa.");
    return kind && name.size() > 4 && name.size() <= 223 &&
           std::ranges::all_of(name, [](char c) { return c > ' ' && c < '\x7f'; });
}

// g++ 14 fails on some lists of strings inside a coroutine, hence a function.
std::vector<std::string> words(std::string word, std::string value = {}) {
    std::vector<std::string> out = {std::move(word)};
    if (!value.empty()) out.push_back(std::move(value));
    return out;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        if (end > at) out.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return out;
}

std::string group_id(gid_t gid) {
    return "g" + std::to_string(gid);
}

std::vector<std::string> groups_of(const passwd& user) {
    int count = 64;
    std::vector<gid_t> ids(static_cast<std::size_t>(count));
    while (::getgrouplist(user.pw_name, user.pw_gid, ids.data(), &count) < 0)
        ids.resize(static_cast<std::size_t>(count));
    ids.resize(static_cast<std::size_t>(count));
    std::vector<std::string> out;
    for (const gid_t id : ids)
        out.push_back(group_id(id));
    return out;
}

std::optional<Account> find_user(const std::string& name, std::optional<uid_t> id) {
    std::vector<char> buffer(account_bytes_max);
    passwd row{};
    passwd* found = nullptr;
    if (id)
        ::getpwuid_r(*id, &row, buffer.data(), buffer.size(), &found);
    else
        ::getpwnam_r(name.c_str(), &row, buffer.data(), buffer.size(), &found);
    if (found == nullptr) return std::nullopt;
    Account out;
    out.id = "u" + std::to_string(row.pw_uid);
    out.facts = {{"subject-name", row.pw_name},
                 {"subject-sid", out.id},
                 {"subject-uid", std::to_string(row.pw_uid)},
                 {"subject-gid", std::to_string(row.pw_gid)},
                 {"subject-gecos", row.pw_gecos},
                 {"subject-displayname", row.pw_gecos},
                 {"subject-homedir", row.pw_dir},
                 {"subject-shell", row.pw_shell},
                 {"subject-is-group", "false"}};
    out.groups = groups_of(row);
    return out;
}

std::optional<Account> find_group(const std::string& name, std::optional<gid_t> id) {
    std::vector<char> buffer(account_bytes_max);
    group row{};
    group* found = nullptr;
    if (id)
        ::getgrgid_r(*id, &row, buffer.data(), buffer.size(), &found);
    else
        ::getgrnam_r(name.c_str(), &row, buffer.data(), buffer.size(), &found);
    if (found == nullptr) return std::nullopt;
    Account out;
    out.id = group_id(row.gr_gid);
    out.facts = {{"subject-name", row.gr_name},
                 {"subject-sid", out.id},
                 {"subject-gid", std::to_string(row.gr_gid)},
                 {"subject-is-group", "true"}};
    return out;
}

Account find_account(const std::string& who) {
    std::uint32_t number = 0;
    const auto [end, failed] = std::from_chars(who.data() + 1, who.data() + who.size(), number);
    const bool is_id = failed == std::errc{} && end == who.data() + who.size();
    std::optional<Account> found;
    if (is_id && who.front() == 'u') found = find_user({}, number);
    if (is_id && who.front() == 'g') found = find_group({}, number);
    if (!found) found = find_user(who, {});
    if (!found) found = find_group(who, {});
    if (!found) throw err::subject_cannot_be_resolved();
    return *found;
}

}  // namespace

RealMachine::RealMachine(RealLoop& loop, Config config)
    : loop_(loop), config_(std::move(config)), queue_(loop) {}

std::string RealMachine::hostname() const {
    return first_line(read_file(config_.etc + "/" + hostname_file).value_or(""));
}

std::string RealMachine::iscsi_iqn() const {
    const std::string text = read_file(config_.etc + "/" + initiator_file).value_or("");
    return text.starts_with(initiator_key) ? first_line(text.substr(initiator_key.size())) : "";
}

Task<Output> RealMachine::ask(Words asked, Duration limit) {
    Command command;
    command.argv = config_.control;
    command.argv.insert(command.argv.end(), asked.begin(), asked.end());
    command.directory = "/";
    Output output;
    if (config_.control.empty()) {
        output.status = nobody_can;
        output.err = "this host has nobody who controls its machine";
    } else {
        output = co_await run_command(loop_, std::move(command), limit);
    }
    if (output.status == nobody_can) throw err::operation_not_allowed(first_line(output.err));
    co_return output;
}

Task<void> RealMachine::tell(Words told) {
    const std::string word = told.front();
    const Output output = co_await ask(std::move(told), service_limit);
    if (output.status != 0)
        throw err::internal_error("host-control " + word + ": " + first_line(output.err));
}

Task<void> RealMachine::power(PowerAct act) {
    log::info("machine_power", {{"act", text(act)}});
    co_await tell(words("power", std::string(text(act))));
}

Task<void> RealMachine::set_file(Undo& undo, std::string file, std::string text, Words told) {
    const std::string path = config_.etc + "/" + file;
    const auto before = co_await blocking(loop_, [path] { return read_file(path); });
    const std::optional<std::string> after = text.empty() ? std::nullopt : std::optional(text);
    if (before == after) co_return;
    undo.push("restore " + file, [this, path, before, told]() -> Task<void> {
        co_await blocking(loop_, [path, before] { write_file(path, before); });
        co_await tell(told);
    });
    co_await blocking(loop_, [path, after] { write_file(path, after); });
    co_await tell(std::move(told));
}

Task<void> RealMachine::set_zone(Undo& undo, std::string zone) {
    const std::string path = config_.etc + "/localtime";
    const auto before = co_await blocking(loop_, [path] {
        std::error_code absent;
        return fs::read_symlink(path, absent);
    });
    undo.push("restore localtime", [this, path, before]() -> Task<void> {
        co_await blocking(loop_, [path, before] {
            if (before.empty())
                fs::remove(path);
            else
                replace_link(path, before);
        });
    });
    const fs::path target = fs::path(config_.zones) / zone;
    co_await blocking(loop_, [path, target] { replace_link(path, target); });
    co_await set_file(undo, "timezone", zone + "\n", words("apply", "timezone"));
}

Task<void> RealMachine::check(const HostChange& change) {
    if (change.hostname)
        if (const auto reason = settings::why_no_hostname(*change.hostname))
            throw err::host_name_invalid(*reason);
    if (change.iscsi_iqn && !is_initiator(*change.iscsi_iqn))
        throw err::invalid_value("iscsi_iqn", *change.iscsi_iqn);
    if (change.ntp)
        for (const std::string& server : change.ntp->servers)
            if (!settings::is_server(server))
                throw err::invalid_value("ntp_custom_servers", server);
    if (const auto& to = change.syslog_destination;
        to && !to->empty() && !settings::is_server(to->substr(0, to->find(':'))) &&
        !settings::is_server(*to))
        throw err::invalid_value("syslog_destination", *to);
    if (change.max_cstate && !settings::is_cstate(*change.max_cstate))
        throw err::invalid_value("max_cstate", *change.max_cstate);
    if (!change.timezone) co_return;
    const std::string zone = *change.timezone;
    const std::vector<std::string> known = co_await timezones();
    if (!std::ranges::binary_search(known, zone)) throw err::invalid_value("timezone", zone);
}

Task<void> RealMachine::change(HostChange change) {
    co_await check(change);
    const auto lease = co_await queue_.acquire("machine");
    co_await with_undo([this, &change](Undo& undo) { return carry_out(undo, change); });
}

Task<void> RealMachine::carry_out(Undo& undo, const HostChange& change) {
    if (change.hostname)
        co_await set_file(undo, hostname_file, *change.hostname + "\n", words("apply", "hostname"));
    if (change.timezone) co_await set_zone(undo, *change.timezone);
    if (change.ntp)
        co_await set_file(undo, sources_file, settings::ntp_sources(*change.ntp),
                          words("apply", change.ntp->enabled ? "ntp-on" : "ntp-off"));
    if (change.syslog_destination)
        co_await set_file(undo, syslog_file, settings::syslog_rule(*change.syslog_destination),
                          words("apply", "syslog"));
    if (change.console_idle_seconds)
        co_await set_file(undo, console_file,
                          settings::console_timeout(*change.console_idle_seconds),
                          words("apply", "console"));
    if (change.iscsi_iqn)
        co_await set_file(undo, initiator_file,
                          std::string(initiator_key) + *change.iscsi_iqn + "\n",
                          words("apply", "iscsi"));
    if (change.ssh_enabled)
        co_await tell(words("apply", *change.ssh_enabled ? "ssh-on" : "ssh-off"));
    if (change.multipathing)
        co_await tell(words("apply", *change.multipathing ? "multipath-on" : "multipath-off"));
    if (change.max_cstate)
        co_await tell(
            words("max-cstate", change.max_cstate->empty() ? "unlimited" : *change.max_cstate));
    if (change.clock_seconds) co_await tell(words("clock", std::to_string(*change.clock_seconds)));
}

Task<HostClock> RealMachine::clock() {
    HostClock out;
    const ClockFacts facts = co_await blocking(loop_, [] { return read_clock(); });
    out.synchronised = facts.synchronised;
    out.timezone = facts.timezone;
    const std::string zone = config_.etc + "/timezone";
    if (const auto text = co_await blocking(loop_, [zone] { return read_file(zone); }))
        out.timezone = first_line(*text);
    try {
        const Output output = co_await ask(words("ntp-sources"), quick_limit);
        if (output.status == 0) out.sources = settings::sources_of(output.out);
    } catch (const ApiError& error) {
        // No daemon keeps the clock here: it has no sources.
        if (error.code() != "OPERATION_NOT_ALLOWED") throw;
    }
    co_return out;
}

Task<void> RealMachine::debug_keys(std::string keys) {
    co_await tell(words("debug-keys", std::move(keys)));
}

Task<std::vector<std::string>> RealMachine::timezones() {
    co_return co_await blocking(loop_,
                                [folder = config_.zones] { return settings::timezones(folder); });
}

Task<std::string> RealMachine::log(HostLog which, bool clear) {
    if (which == HostLog::agent) {
        const Output output = co_await ask(words("log"), service_limit);
        if (output.status != 0) throw err::internal_error("log: " + first_line(output.err));
        co_return newest(output.out);
    }
    const KernelLog told = co_await blocking(loop_, [first = kernel_log_first_] {
        try {
            return read_kernel_log(first);
        } catch (const std::system_error& error) {
            throw err::internal_error(error.what());
        }
    });
    if (clear) kernel_log_first_ = told.next;
    co_return told.text;
}

Task<UniqueFd> RealMachine::bundle(std::vector<std::string> entries, std::string format) {
    if (config_.control.empty())
        throw err::operation_not_allowed("this host has nobody who controls its machine");
    auto [near, far] = socket_pair();
    Command command;
    command.argv = config_.control;
    command.argv.emplace_back("bundle");
    command.argv.push_back(std::move(format));
    command.argv.insert(command.argv.end(), entries.begin(), entries.end());
    command.directory = "/";
    command.inherit.push_back({far.get(), 1});
    // Who reads the stream learns from its end that the program has ended.
    spawn(loop_, "bundle", [](std::unique_ptr<Process> process) -> Task<void> {
        const int status = co_await process->wait();
        if (status != 0) log::warn("bundle_failed", {{"status", status}});
    }(start_process(loop_, command)));
    co_return std::move(near);
}

Task<std::vector<UsbFacts>> RealMachine::usb_devices() {
    co_return co_await blocking(loop_,
                                [folders = config_.usb] { return agent::usb_devices(folders); });
}

Task<std::string> RealMachine::usb_node(UsbSpec spec) {
    const auto node = co_await blocking(
        loop_, [folders = config_.usb, spec] { return agent::usb_node(folders, spec); });
    if (!node) throw err::invalid_device(spec.path);
    co_return *node;
}

Task<std::vector<PciFacts>> RealMachine::pci_devices() {
    co_return co_await blocking(loop_,
                                [folders = config_.pci] { return agent::pci_devices(folders); });
}

Task<PciHiding> RealMachine::pci_hiding() {
    PciHiding out;
    out.now =
        co_await blocking(loop_, [folders = config_.pci] { return hidden_pci_devices(folders); });
    try {
        const Output output = co_await ask(words("pci-hidden"), quick_limit);
        if (output.status != 0) throw err::internal_error("pci-hidden: " + first_line(output.err));
        out.next = lines_of(output.out);
    } catch (const ApiError& error) {
        // Nobody changes how this machine boots: as it is now it stays.
        if (error.code() != "OPERATION_NOT_ALLOWED") throw;
        out.next = out.now;
    }
    co_return out;
}

Task<PciHiding> RealMachine::pci_hide(std::string address, bool hidden) {
    const std::vector<PciFacts> devices = co_await pci_devices();
    if (!std::ranges::contains(devices, address, &PciFacts::address))
        throw err::invalid_value("address", address);
    {
        const auto lease = co_await queue_.acquire("machine");
        const Output output =
            co_await ask(words(hidden ? "pci-hide" : "pci-show", address), service_limit);
        if (output.status == is_booted_from)
            throw err::boot_device_passthrough_disallowed(first_line(output.err));
        if (output.status != 0) throw err::internal_error("pci-hide: " + first_line(output.err));
    }
    co_return co_await pci_hiding();
}

Task<std::string> RealMachine::pci_functions(std::string address, bool enabled) {
    const auto mode = co_await blocking(loop_, [folders = config_.pci, address, enabled] {
        try {
            return set_pci_functions(folders, address, enabled);
        } catch (const std::system_error& error) {
            throw err::internal_error(error.what());
        }
    });
    if (!mode) throw err::invalid_value("address", address);
    co_return *mode;
}

Task<Account> RealMachine::account(std::string who) {
    co_return co_await blocking(loop_, [who = std::move(who)] { return find_account(who); });
}

}  // namespace basalt::agent
