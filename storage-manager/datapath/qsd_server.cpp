#include "storage-manager/datapath/qsd_server.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/real_net.hpp"
#include "idl/errors.hpp"

namespace basalt::sm {

namespace fs = std::filesystem;

namespace {

constexpr Duration start_limit = 20s;
constexpr Duration open_limit = 60s;
constexpr Duration end_limit = 30s;

// Descriptors that the daemon inherits, both listening.
constexpr int qmp_fd = 3;
constexpr int nbd_fd = 4;

// Far above what a daemon was ever seen to use: caches of qcow2 metadata, threads for requests.
constexpr CgroupLimits daemon_limits = {
    .memory_bytes_max = std::int64_t{4} << 30, .pids_max = 512, .cpu_weight = 100};

std::string export_id(const std::string& device) {
    return "disk-" + device;
}

std::string read_text(const fs::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
}

UniqueFd open_log(const fs::path& folder) {
    return UniqueFd(::open((folder / "log").c_str(),
                           O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
}

// Nobody but root may connect until it is given away.
UniqueFd listening_socket(const std::string& path) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const bool fits = path.size() < sizeof address.sun_path;
    if (fits) path.copy(address.sun_path, path.size());
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the shape of the call
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (!fits || !fd || ::bind(fd.get(), generic, sizeof address) != 0 ||
        ::chmod(path.c_str(), 0600) != 0 || ::listen(fd.get(), 64) != 0)
        throw err::internal_error(path + ": " + std::strerror(fits ? errno : ENAMETOOLONG));
    return fd;
}

// g++ 14 fails on some lists of strings inside a coroutine, hence a function of its own.
std::vector<std::string> daemon_args() {
    return {"qemu-storage-daemon",
            "--chardev",
            "socket,id=qmp,fd=" + std::to_string(qmp_fd) + ",server=on,wait=off",
            "--monitor",
            "chardev=qmp",
            "--nbd-server",
            "addr.type=fd,addr.str=" + std::to_string(nbd_fd) + ",max-connections=64"};
}

// An image that cannot be shown cannot be opened: one error for both.
void show_image(const ShownFile& image, OwnerMaps& maps) {
    try {
        show_file(image, maps);
    } catch (const std::system_error& error) {
        throw backend_failure(Failure::vdi_unavailable, error.what());
    }
}

Task<void> reap(std::shared_ptr<Process> process) {
    co_await process->wait();
}

}  // namespace

QsdDatapath::Server::Server(RealLoop& loop, std::string vm, fs::path folder,
                            std::shared_ptr<Confinement> confinement)
    : loop_(loop),
      vm_(std::move(vm)),
      folder_(std::move(folder)),
      confinement_(std::move(confinement)),
      relays_(loop_, vm_, folder_, confinement_) {}

struct QsdDatapath::Server::Sockets {
    UniqueFd log;
    UniqueFd qmp;
    UniqueFd nbd;
};

// Called off the loop.
Command QsdDatapath::Server::command(Sockets& sockets) {
    hide_files(file("disks"));  // of a daemon that is gone
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    fs::create_directories(folder_);
    fs::permissions(folder_, folder_mode);
    make_show_folder(file("disks"), slot_->storage());
    sockets.log = open_log(folder_);
    sockets.qmp = listening_socket(file("qmp"));
    sockets.nbd = listening_socket(file("nbd"));
    if (::chown(file("nbd").c_str(), slot_->guest(), slot_->guest()) != 0)
        throw err::internal_error(file("nbd") + ": " + std::strerror(errno));
    Cell cell;
    cell.uid = slot_->storage();
    cell.groups = confinement_->groups.make(group(), daemon_limits);
    cell.writable = {file("disks")};
    cell.pid_file = file("pid");
    Command command;
    command.argv = confined(confinement_->launcher, cell, daemon_args());
    command.inherit = {{sockets.log.get(), 1},
                       {sockets.log.get(), 2},
                       {sockets.qmp.get(), qmp_fd},
                       {sockets.nbd.get(), nbd_fd}};
    command.detached = true;
    return command;
}

Task<void> QsdDatapath::Server::start() {
    slot_ = co_await confinement_->slots.hold(vm_);
    const auto sockets = std::make_shared<Sockets>();
    const Command command =
        co_await blocking(loop_, [this, sockets] { return this->command(*sockets); });
    process_ = start_process(loop_, command);
    *sockets = {};  // from here on, a daemon that ends breaks the connection
    spawn(loop_, "storage daemon", reap(process_));
    std::exception_ptr failure;
    bool up = false;
    try {
        up = co_await connect();
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (up) {
        log::info("storage_daemon_started", {{"vm", vm_}, {"pid", process_->pid()}});
        co_return;
    }
    co_await asio::this_coro::reset_cancellation_state();
    const std::string words =
        co_await blocking(loop_, [path = folder_ / "log"] { return read_text(path); });
    client_.reset();
    process_->kill(SIGKILL);
    co_await shielded(stop());
    if (failure && is_cancellation(failure)) std::rethrow_exception(failure);
    throw err::internal_error("qemu-storage-daemon did not start: " + words);
}

Task<bool> QsdDatapath::Server::connect() {
    std::unique_ptr<FdStream> stream;
    try {
        stream = co_await connect_unix(loop_, file("qmp"));
    } catch (const boost::system::system_error&) {
        co_return false;
    }
    client_ = std::make_unique<qmp::Client>(loop_, std::move(stream));
    co_await client_->connect(start_limit);
    if (!process_) {
        slot_ = co_await confinement_->slots.hold(vm_);
        const pid_t pid =
            co_await blocking(loop_, [path = file("pid")] { return process_of(path); });
        if (pid > 0) process_ = adopt_process(loop_, pid);
        co_await relays_.adopt();
        const auto known = co_await nodes("");
        co_await blocking(loop_, [this, known] { hide_strays(known); });
    }
    const Json exports = co_await ask("query-block-exports");
    for (const Json& one : exports) {
        const auto id = one.at("id").get<std::string>();
        if (id.starts_with("disk-")) devices_.insert(id.substr(5));
    }
    co_return true;
}

// What an earlier hostd showed and then had no time to open, or to hide.
void QsdDatapath::Server::hide_strays(const std::vector<std::string>& nodes) {
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(folder_ / "disks", failed))
        if (const std::string name = entry.path().filename().string();
            !std::ranges::contains(nodes, name)) {
            relays_.end(name + ".");
            hide_file(entry.path().string());
        }
}

DiskServer QsdDatapath::Server::where(const std::string& device) const {
    return {file("nbd"), device};
}

Task<void> QsdDatapath::Server::add(std::string device, Attachment disk) {
    if (devices_.contains(device)) co_return;
    const auto stale = co_await nodes(device);  // of an attempt that failed
    co_await remove_nodes(stale);
    std::exception_ptr failure;
    try {
        co_await add_chain(device, std::move(disk));
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) {
        co_await asio::this_coro::reset_cancellation_state();
        if (alive()) {
            const auto half = co_await nodes(device);
            co_await remove_nodes(half);
        }
        std::rethrow_exception(failure);
    }
    devices_.insert(device);
}

Task<void> QsdDatapath::Server::add_chain(std::string device, Attachment disk) {
    std::string below;
    for (std::size_t i = disk.chain.size(); i-- > 0;)
        below = co_await add_image(device, disk.chain[i], below, disk.read_only || i > 0);
    co_await add_export(device, {below, !disk.read_only});
}

Task<std::string> QsdDatapath::Server::add_image(std::string device, Image image,
                                                 std::string backing, bool read_only) {
    const NodeNames names = co_await fresh_names(device);
    std::exception_ptr failure;
    try {
        co_await add_file(image, names, read_only);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) {
        co_await asio::this_coro::reset_cancellation_state();
        co_await hide(names.file);
        std::rethrow_exception(failure);
    }
    co_await ask("blockdev-add", format_node(image, names, backing, read_only));
    co_return names.format;
}

Task<void> QsdDatapath::Server::add_file(Image image, NodeNames names, bool read_only) {
    const std::string at = shown(names.file);
    if (is_remote(image)) {
        co_await relays_.start(names.file, image, at, slot_->storage());
        co_await ask("blockdev-add", relayed_node(at, names));
        co_return;
    }
    const ShownFile place{image.path, at, slot_->storage(), read_only};
    co_await blocking(loop_, [this, place] { show_image(place, maps_); });
    co_await ask("blockdev-add", file_node({at, image.format}, names, read_only));
}

Task<void> QsdDatapath::Server::hide(std::string node) {
    co_await blocking(loop_, [this, node] {
        relays_.end(node + ".");
        hide_file(shown(node));
    });
}

Task<void> QsdDatapath::Server::remove(std::string device) {
    // A server that does not answer would hold up who waits for the last read.
    co_await blocking(loop_, [this, device] { relays_.end(device + "-"); });
    co_await remove_export(device);
    const auto names = co_await nodes(device);
    co_await remove_nodes(names);
    devices_.erase(device);
}

Task<std::optional<ApiError>> QsdDatapath::Server::switch_leaf(std::string device, Image leaf) {
    std::string refused;
    std::string fresh;
    std::string old;
    try {
        const auto now = co_await current(device);
        if (!now) throw err::internal_error(device + " is not served");
        old = now->node;
        fresh = co_await add_image(device, leaf, "", false);
    } catch (const std::exception& error) {
        refused = error.what();  // nothing was asked for yet
    }
    if (refused.empty()) {
        try {
            // QEMU flushes the old leaf, then swaps the export's node between two requests.
            co_await ask("blockdev-snapshot", {{"node", old}, {"overlay", fresh}});
            co_return std::nullopt;
        } catch (const qmp::Error& error) {
            refused = error.what();
        }
    }
    if (alive()) {
        // Only the overlay's nodes can go: what the export uses is refused.
        const auto names = co_await nodes(device);
        co_await remove_nodes(names);
    }
    co_return backend_failure(Failure::snapshot_failed, refused);
}

Task<void> QsdDatapath::Server::resize(std::string device, std::int64_t size_bytes) {
    // QEMU holds the size of an exported node fixed, so the export steps aside.
    const auto now = co_await current(device);
    if (!now) throw err::internal_error(device + " is not served");
    co_await remove_export(device);
    std::exception_ptr failure;
    try {
        co_await ask("block_resize", {{"node-name", now->node}, {"size", size_bytes}});
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) co_await asio::this_coro::reset_cancellation_state();
    co_await add_export(device, *now);
    if (failure) std::rethrow_exception(failure);
}

Task<void> QsdDatapath::Server::stop() {
    co_await blocking(loop_, [this] { relays_.end(""); });
    if (alive()) {
        try {
            co_await client_->execute("quit", Json::object(), end_limit);
        } catch (const std::exception& error) {
            log::warn("storage_daemon_quit", {{"vm", vm_}, {"error", error.what()}});
        }
    }
    client_.reset();
    devices_.clear();
    co_await end_process();
    co_await blocking(loop_, [this] {
        hide_files(file("disks"));
        std::error_code ignored;
        fs::remove_all(folder_, ignored);
        confinement_->groups.remove(group());
        relays_.forget();
    });
}

Task<void> QsdDatapath::Server::end_process() {
    if (process_) {
        try {
            co_await within(loop_, end_limit, reap(process_),
                            err::internal_error("the storage daemon does not end"));
        } catch (const ApiError&) {
            log::error("storage_daemon_killed", {{"vm", vm_}});
            process_->kill(SIGKILL);
        }
    }
}

// -- helpers ------------------------------------------------------------------------------------

Task<qmp::Json> QsdDatapath::Server::ask(std::string command, qmp::Json arguments) {
    if (!alive()) throw err::internal_error("the storage daemon of " + vm_ + " is gone");
    return client_->execute(std::move(command), std::move(arguments), open_limit);
}

Task<std::vector<std::string>> QsdDatapath::Server::nodes(std::string device) {
    const Json all = co_await ask("query-named-block-nodes", {{"flat", true}});
    std::vector<std::string> out;
    for (const Json& node : all) {
        auto name = node.value("node-name", std::string());
        if (device.empty() || name.starts_with(device + "-")) out.push_back(std::move(name));
    }
    co_return out;
}

// `xvda-f3` and `xvda-p3`: the number is above all that the disk has had.
Task<NodeNames> QsdDatapath::Server::fresh_names(std::string device) {
    const auto used = co_await nodes(device);
    int last = 0;
    for (const std::string& name : used)
        last = std::max(last, std::atoi(name.c_str() + device.size() + 2));
    const std::string number = std::to_string(last + 1);
    co_return NodeNames{device + "-f" + number, device + "-p" + number};
}

Task<void> QsdDatapath::Server::add_export(std::string device, Export what) {
    co_await ask("block-export-add", {{"type", "nbd"},
                                      {"id", export_id(device)},
                                      {"node-name", what.node},
                                      {"name", device},
                                      {"writable", what.writable}});
}

Task<void> QsdDatapath::Server::remove_export(std::string device) {
    bool present = co_await exported(device);
    if (present) co_await ask("block-export-del", {{"id", export_id(device)}, {"mode", "hard"}});
    const Time deadline = loop_.now() + end_limit;
    while (present && loop_.now() < deadline) {
        present = co_await exported(device);
        if (present) co_await sleep_for(loop_, 5ms);
    }
    if (present) throw err::internal_error(device + " is still being written");
}

// Those that nothing uses go first, until none is left or none will go.
Task<void> QsdDatapath::Server::remove_nodes(std::vector<std::string> names) {
    std::ranges::sort(names, std::greater<>());  // formats before files, newest first
    for (bool progress = true; progress && !names.empty();) {
        progress = false;
        std::vector<std::string> rest;
        for (const std::string& name : names) {
            try {
                co_await ask("blockdev-del", {{"node-name", name}});
                co_await hide(name);
                progress = true;
            } catch (const qmp::Error&) {
                rest.push_back(name);
            }
        }
        names = std::move(rest);
    }
}

Task<bool> QsdDatapath::Server::exported(std::string device) {
    const auto now = co_await current(std::move(device));
    co_return now.has_value();
}

Task<std::optional<QsdDatapath::Server::Export>> QsdDatapath::Server::current(std::string device) {
    const Json exports = co_await ask("query-block-exports");
    std::string node;
    for (const Json& one : exports)
        if (one.at("id") == export_id(device)) node = one.at("node-name").get<std::string>();
    if (node.empty()) co_return std::nullopt;
    const Json all = co_await ask("query-named-block-nodes", {{"flat", true}});
    for (const Json& one : all)
        if (one.value("node-name", std::string()) == node)
            co_return Export{node, !one.value("ro", true)};
    co_return Export{node, false};
}

}  // namespace basalt::sm
