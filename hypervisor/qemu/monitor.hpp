#pragma once
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/qmp.hpp"

/// The commands of QEMU that we use, each with its types; a refusal is an ApiError from here on.
namespace basalt::hv::qemu {

enum class RunState : std::uint8_t { running, paused, incoming, shut_down, panicked };

/// QEMU's many words for it. `shut_down`: the guest is off and the process waits for us.
RunState parse_run_state(const std::string& word);

struct Migration {
    enum class State : std::uint8_t { none, active, completed, failed };
    State state = State::none;
    std::string error;
    double fraction = 0;  // of memory that has passed, 0 to 1
};

Migration parse_migration(const nlohmann::json& answer);

struct BalloonStats {
    std::int64_t total_bytes = 0;
    std::int64_t free_bytes = 0;  // what the guest could hand out
};

/// Zeros when the guest has no balloon driver, which then never reported.
BalloonStats parse_balloon_stats(const nlohmann::json& answer);

/// What QEMU has counted at one device; times are of all its requests together.
struct BlockStats {
    std::string device;  // its id
    std::int64_t read_bytes = 0;
    std::int64_t write_bytes = 0;
    std::int64_t reads = 0;
    std::int64_t writes = 0;
    std::int64_t read_ns = 0;
    std::int64_t write_ns = 0;
    bool operator==(const BlockStats&) const = default;
};

/// Of the devices that we gave an id; others (a BIOS's own flash) are left out.
std::vector<BlockStats> parse_block_stats(const nlohmann::json& answer);

/// Of `query-hotpluggable-cpus`, in the order in which they are to be plugged.
std::vector<nlohmann::json> parse_free_cpus(const nlohmann::json& answer);

/// The one table from QEMU's refusals to ours.
ApiError translated(const qmp::Error& error);

/// Loop only. Every call throws INTERNAL_ERROR when the connection is lost or QEMU is silent.
class Monitor {
  public:
    using Json = nlohmann::json;

    Monitor(Loop& loop, std::unique_ptr<Stream> stream);

    void on_event(qmp::OnEvent handler) { client_.on_event(std::move(handler)); }

    Task<void> connect(Duration limit);
    void close();

    Task<RunState> run_state();
    Task<void> resume();
    Task<void> pause();
    Task<void> power_button();
    Task<void> reset();
    Task<void> quit();

    Task<void> add_device(Json device);
    Task<void> request_removal(std::string id);
    Task<bool> has_device(std::string id);
    Task<void> add_netdev(Json netdev);
    Task<void> remove_netdev(std::string id);
    Task<void> add_blockdev(Json blockdev);
    Task<void> remove_blockdev(std::string node);
    /// Gives a node that is in use other options, its child above all.
    Task<void> reopen_blockdev(Json blockdev);
    Task<void> resize_node(std::string node, std::int64_t size_bytes);
    /// Ends the connection of an NBD node at once; the guest's requests fail.
    Task<void> yank_node(std::string node);
    Task<void> open_tray(std::string id);
    Task<void> close_tray(std::string id);
    Task<void> remove_medium(std::string id);
    Task<void> insert_medium(std::string id, std::string node);

    /// Hands a descriptor over under a name.
    Task<void> give_fd(std::string name, UniqueFd fd);
    /// Idempotent: one that is in use, or that never was, is no error.
    Task<void> take_fd(std::string name);
    /// Hands a descriptor over that a device opens by /dev/fdset/N; answers N.
    Task<std::int64_t> add_fd(UniqueFd fd);
    /// Whoever has opened it keeps it.
    Task<void> remove_fd(std::int64_t descriptor_set);
    /// A connected socket becomes a client of the screen (RFB).
    Task<void> add_screen_client(UniqueFd socket);
    Task<void> unlimited_migration();
    /// Each step of a migration is told by an event.
    Task<void> announce_migration();
    /// The guest is slowed down when it changes memory faster than it passes.
    Task<void> converge_migration();
    Task<void> migrate_to_fd(std::string name);
    Task<void> migrate_from_fd(std::string name);
    Task<void> cancel_migration();
    Task<Migration> migration();

    /// Whether somebody in the guest has the other end of a channel open.
    Task<bool> channel_open(std::string chardev);
    Task<BalloonStats> balloon_stats();
    /// For measuring, so not waited for longer than two seconds.
    Task<std::vector<BlockStats>> block_stats();
    /// As `balloon_actual`, waited for as `block_stats`.
    Task<std::int64_t> memory_bytes();

    /// How much memory the balloon shall leave the guest, and how much it leaves it now.
    Task<void> set_balloon(std::int64_t bytes);
    Task<std::int64_t> balloon_actual();

    /// What `device_add` takes for each virtual CPU that could be plugged and is not.
    Task<std::vector<Json>> free_cpus();
    Task<void> inject_nmi();
    Task<void> wake_up();
    /// Presses keys of QEMU's names together, for a moment.
    Task<void> press(std::vector<std::string> keys);

  private:
    Task<Json> execute(std::string command, Json arguments = Json::object());
    Task<Json> glance(std::string command);
    Task<void> command(std::string name, Json arguments = Json::object());
    Task<void> migrate_with(std::string capability);

    qmp::Client client_;
};

}  // namespace basalt::hv::qemu
