#include "hypervisor/qemu/monitor.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

using Json = nlohmann::json;

namespace {

// Stopping a guest drains its disks first, and a disk may be slow.
constexpr Duration answer_limit = 60s;
constexpr Duration glance_limit = 2s;
constexpr std::int64_t no_bandwidth_limit = std::int64_t{1} << 40;

Json named(const char* key, std::string value) {
    return Json{{key, std::move(value)}};
}

}  // namespace

RunState parse_run_state(const std::string& word) {
    if (word == "running") return RunState::running;
    if (word == "inmigrate") return RunState::incoming;
    if (word == "shutdown") return RunState::shut_down;
    if (word == "guest-panicked" || word == "internal-error") return RunState::panicked;
    return RunState::paused;
}

Migration parse_migration(const Json& answer) {
    Migration out;
    const std::string status = answer.value("status", std::string("none"));
    constexpr std::array failed{"failed", "cancelled", "cancelling", "failing"};
    if (status == "completed")
        out.state = Migration::State::completed;
    else if (std::ranges::contains(failed, status))
        out.state = Migration::State::failed;
    else if (status != "none")
        out.state = Migration::State::active;
    out.error = answer.value("error-desc", std::string());
    if (out.state == Migration::State::failed && out.error.empty()) out.error = status;
    if (const auto ram = answer.find("ram"); ram != answer.end()) {
        const auto total = ram->value("total", 0.0);
        const auto remaining = ram->value("remaining", 0.0);
        // Before the first pass nothing counts as remaining.
        const bool begun = ram->value("transferred", 0.0) > 0;
        if (total > 0 && begun) out.fraction = std::clamp((total - remaining) / total, 0.0, 1.0);
    }
    if (out.state == Migration::State::completed) out.fraction = 1;
    return out;
}

BalloonStats parse_balloon_stats(const Json& answer) {
    BalloonStats out;
    const auto stats = answer.find("stats");
    if (stats == answer.end() || answer.value("last-update", std::int64_t{0}) == 0) return out;
    const auto number = [&stats](const char* key) -> std::int64_t {
        const auto found = stats->find(key);
        // An absent one is the largest unsigned number.
        if (found == stats->end() || !found->is_number_integer()) return 0;
        const auto value = found->get<std::uint64_t>();
        return value > std::uint64_t{INT64_MAX} ? 0 : static_cast<std::int64_t>(value);
    };
    out.total_bytes = number("stat-total-memory");
    const std::int64_t available = number("stat-available-memory");
    out.free_bytes = available > 0 ? available : number("stat-free-memory");
    return out;
}

namespace {

// "/machine/peripheral/vbd-xvda/virtio-backend", or the id alone.
std::string device_in(const std::string& path) {
    constexpr std::string_view peripherals = "/machine/peripheral/";
    if (!path.starts_with(peripherals)) return path;
    return path.substr(peripherals.size(), path.find('/', peripherals.size()) - peripherals.size());
}

std::int64_t count_in(const Json& stats, const char* key) {
    const auto found = stats.find(key);
    return found != stats.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

}  // namespace

std::vector<BlockStats> parse_block_stats(const Json& answer) {
    std::vector<BlockStats> out;
    for (const Json& entry : answer) {
        const std::string device = device_in(text_member(entry, "qdev"));
        const auto stats = entry.find("stats");
        if (device.empty() || stats == entry.end() || !stats->is_object()) continue;
        out.push_back({.device = device,
                       .read_bytes = count_in(*stats, "rd_bytes"),
                       .write_bytes = count_in(*stats, "wr_bytes"),
                       .reads = count_in(*stats, "rd_operations"),
                       .writes = count_in(*stats, "wr_operations"),
                       .read_ns = count_in(*stats, "rd_total_time_ns"),
                       .write_ns = count_in(*stats, "wr_total_time_ns")});
    }
    return out;
}

std::vector<Json> parse_free_cpus(const Json& answer) {
    std::vector<Json> out;
    for (const Json& slot : answer) {
        if (slot.contains("qom-path")) continue;
        Json device = slot.at("props");
        device["driver"] = slot.at("type");
        out.push_back(std::move(device));
    }
    // QEMU tells the last one first.
    std::ranges::reverse(out);
    return out;
}

ApiError translated(const qmp::Error& error) {
    if (error.kind() == "DeviceNotFound" && error.command() == "device_del")
        return err::device_not_attached(error.description());
    if (error.command() == "device_del" && error.description().contains("in the process of unplug"))
        return err::device_detach_rejected("", "", error.description());
    return err::internal_error(error.what());
}

Monitor::Monitor(Loop& loop, std::unique_ptr<Stream> stream) : client_(loop, std::move(stream)) {}

Task<void> Monitor::connect(Duration limit) {
    co_await client_.connect(limit);
}

void Monitor::close() {
    client_.close();
}

Task<Json> Monitor::execute(std::string command, Json arguments) {
    try {
        co_return co_await client_.execute(std::move(command), std::move(arguments), answer_limit);
    } catch (const qmp::Error& error) {
        throw translated(error);
    }
}

Task<void> Monitor::command(std::string name, Json arguments) {
    co_await execute(std::move(name), std::move(arguments));
}

Task<Json> Monitor::glance(std::string command) {
    try {
        co_return co_await client_.execute(std::move(command), Json::object(), glance_limit);
    } catch (const qmp::Error& error) {
        throw translated(error);
    }
}

Task<RunState> Monitor::run_state() {
    const Json answer = co_await execute("query-status");
    co_return parse_run_state(answer.value("status", std::string()));
}

Task<void> Monitor::resume() {
    return command("cont");
}

Task<void> Monitor::pause() {
    return command("stop");
}

Task<void> Monitor::power_button() {
    return command("system_powerdown");
}

Task<void> Monitor::reset() {
    return command("system_reset");
}

Task<void> Monitor::quit() {
    return command("quit");
}

Task<void> Monitor::add_device(Json device) {
    return command("device_add", std::move(device));
}

Task<void> Monitor::request_removal(std::string id) {
    return command("device_del", named("id", std::move(id)));
}

Task<bool> Monitor::has_device(std::string id) {
    const Json answer = co_await execute("qom-list", named("path", "/machine/peripheral"));
    for (const Json& entry : answer)
        if (entry.value("name", std::string()) == id) co_return true;
    co_return false;
}

Task<void> Monitor::add_netdev(Json netdev) {
    return command("netdev_add", std::move(netdev));
}

Task<void> Monitor::remove_netdev(std::string id) {
    return command("netdev_del", named("id", std::move(id)));
}

Task<void> Monitor::add_blockdev(Json blockdev) {
    return command("blockdev-add", std::move(blockdev));
}

Task<void> Monitor::remove_blockdev(std::string node) {
    return command("blockdev-del", named("node-name", std::move(node)));
}

Task<void> Monitor::reopen_blockdev(Json blockdev) {
    return command("blockdev-reopen", Json{{"options", Json::array({std::move(blockdev)})}});
}

Task<void> Monitor::resize_node(std::string node, std::int64_t size_bytes) {
    return command("block_resize", Json{{"node-name", std::move(node)}, {"size", size_bytes}});
}

Task<void> Monitor::yank_node(std::string node) {
    const Json instance = {{"type", "block-node"}, {"node-name", std::move(node)}};
    return command("yank", Json{{"instances", Json::array({instance})}});
}

Task<void> Monitor::open_tray(std::string id) {
    // By force, as the toolstack always did: a guest that locked the tray loses its medium.
    return command("blockdev-open-tray", Json{{"id", std::move(id)}, {"force", true}});
}

Task<void> Monitor::close_tray(std::string id) {
    return command("blockdev-close-tray", named("id", std::move(id)));
}

Task<void> Monitor::remove_medium(std::string id) {
    return command("blockdev-remove-medium", named("id", std::move(id)));
}

Task<void> Monitor::insert_medium(std::string id, std::string node) {
    return command("blockdev-insert-medium",
                   Json{{"id", std::move(id)}, {"node-name", std::move(node)}});
}

Task<void> Monitor::give_fd(std::string name, UniqueFd fd) {
    std::vector<UniqueFd> fds;
    fds.push_back(std::move(fd));
    try {
        co_await client_.execute("getfd", named("fdname", std::move(name)), answer_limit,
                                 std::move(fds));
    } catch (const qmp::Error& error) {
        throw translated(error);
    }
}

Task<void> Monitor::take_fd(std::string name) {
    try {
        co_await client_.execute("closefd", named("fdname", std::move(name)), answer_limit);
    } catch (const qmp::Error& error) {
        log::debug("descriptor_in_use", {{"error", error.what()}});
    }
}

Task<std::int64_t> Monitor::add_fd(UniqueFd fd) {
    std::vector<UniqueFd> fds;
    fds.push_back(std::move(fd));
    try {
        const Json answer =
            co_await client_.execute("add-fd", Json::object(), answer_limit, std::move(fds));
        co_return count_in(answer, "fdset-id");
    } catch (const qmp::Error& error) {
        throw translated(error);
    }
}

Task<void> Monitor::remove_fd(std::int64_t descriptor_set) {
    return command("remove-fd", Json{{"fdset-id", descriptor_set}});
}

Task<void> Monitor::add_screen_client(UniqueFd socket) {
    const std::string name = "screen";
    co_await give_fd(name, std::move(socket));
    // Whoever reaches this has been asked for a session by then.
    co_await command("add_client", Json{{"protocol", "vnc"}, {"fdname", name}, {"skipauth", true}});
}

Task<void> Monitor::unlimited_migration() {
    return command("migrate-set-parameters", Json{{"max-bandwidth", no_bandwidth_limit}});
}

Task<void> Monitor::announce_migration() {
    return migrate_with("events");
}

Task<void> Monitor::converge_migration() {
    return migrate_with("auto-converge");
}

Task<void> Monitor::migrate_with(std::string capability) {
    const Json wanted = {{"capability", std::move(capability)}, {"state", true}};
    return command("migrate-set-capabilities", Json{{"capabilities", Json::array({wanted})}});
}

Task<void> Monitor::migrate_to_fd(std::string name) {
    return command("migrate", named("uri", "fd:" + name));
}

Task<void> Monitor::migrate_from_fd(std::string name) {
    // A refused stream must leave the process alive, to be asked why.
    return command("migrate-incoming", Json{{"uri", "fd:" + name}, {"exit-on-error", false}});
}

Task<void> Monitor::cancel_migration() {
    return command("migrate_cancel");
}

Task<Migration> Monitor::migration() {
    co_return parse_migration(co_await execute("query-migrate"));
}

Task<bool> Monitor::channel_open(std::string chardev) {
    const Json answer = co_await execute("query-chardev");
    for (const Json& entry : answer)
        if (entry.value("label", std::string()) == chardev)
            co_return entry.value("frontend-open", false);
    co_return false;
}

Task<BalloonStats> Monitor::balloon_stats() {
    const Json arguments = {{"path", "/machine/peripheral/balloon"}, {"property", "guest-stats"}};
    co_return parse_balloon_stats(co_await execute("qom-get", arguments));
}

Task<std::vector<BlockStats>> Monitor::block_stats() {
    co_return parse_block_stats(co_await glance("query-blockstats"));
}

Task<std::int64_t> Monitor::memory_bytes() {
    co_return count_in(co_await glance("query-balloon"), "actual");
}

Task<void> Monitor::set_balloon(std::int64_t bytes) {
    return command("balloon", Json{{"value", bytes}});
}

Task<std::int64_t> Monitor::balloon_actual() {
    co_return count_in(co_await execute("query-balloon"), "actual");
}

Task<std::vector<Json>> Monitor::free_cpus() {
    co_return parse_free_cpus(co_await execute("query-hotpluggable-cpus"));
}

Task<void> Monitor::inject_nmi() {
    return command("inject-nmi");
}

Task<void> Monitor::wake_up() {
    return command("system_wakeup");
}

Task<void> Monitor::press(std::vector<std::string> keys) {
    Json names = Json::array();
    for (std::string& key : keys)
        names.push_back({{"type", "qcode"}, {"data", std::move(key)}});
    return command("send-key", Json{{"keys", std::move(names)}});
}

}  // namespace basalt::hv::qemu
