#include "storage-manager/datapath/qsd_server.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <csignal>
#include <fstream>
#include <iterator>

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

std::string export_id(const std::string& device) {
    return "disk-" + device;
}

std::string read_text(const fs::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
}

// A pid from a file may be somebody else's by now: its command line must name our socket.
pid_t daemon_pid(const fs::path& folder) {
    const int pid = std::atoi(read_text(folder / "pid").c_str());
    if (pid <= 1) return -1;
    const std::string line = read_text("/proc/" + std::to_string(pid) + "/cmdline");
    return line.find((folder / "qmp").string()) == std::string::npos ? -1 : pid;
}

UniqueFd open_log(const fs::path& folder) {
    return UniqueFd(::open((folder / "log").c_str(),
                           O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
}

// g++ 14 fails on some lists of strings inside a coroutine, hence a function of its own.
std::vector<std::string> daemon_args(const fs::path& folder) {
    return {"qemu-storage-daemon",
            "--chardev",
            "socket,id=qmp,path=" + (folder / "qmp").string() + ",server=on,wait=off",
            "--monitor",
            "chardev=qmp",
            "--nbd-server",
            "addr.type=unix,addr.path=" + (folder / "nbd").string() + ",max-connections=64",
            "--pidfile",
            (folder / "pid").string()};
}

Task<void> reap(std::shared_ptr<Process> process) {
    co_await process->wait();
}

}  // namespace

QsdDatapath::Server::Server(RealLoop& loop, std::string vm, fs::path folder)
    : loop_(loop), vm_(std::move(vm)), folder_(std::move(folder)) {}

Task<void> QsdDatapath::Server::start() {
    co_await blocking(loop_, [folder = folder_] {
        std::error_code ignored;
        fs::remove_all(folder, ignored);
        fs::create_directories(folder);
        ::chmod(folder.c_str(), 0700);
    });
    const UniqueFd log = open_log(folder_);
    Command command;
    command.argv = daemon_args(folder_);
    command.inherit = {{log.get(), 1}, {log.get(), 2}};
    command.detached = true;
    process_ = start_process(loop_, command);
    spawn(loop_, "storage daemon", reap(process_));
    const Time deadline = loop_.now() + start_limit;
    for (;;) {
        const bool up = co_await connect();
        if (up) break;
        if (loop_.now() > deadline)
            throw err::internal_error("qemu-storage-daemon did not start: " +
                                      read_text(folder_ / "log"));
        co_await sleep_for(loop_, 10ms);
    }
    log::info("storage_daemon_started", {{"vm", vm_}, {"pid", process_->pid()}});
}

Task<bool> QsdDatapath::Server::connect() {
    std::unique_ptr<FdStream> stream;
    try {
        stream = co_await connect_unix(loop_, socket("qmp"));
    } catch (const boost::system::system_error&) {
        co_return false;
    }
    client_ = std::make_unique<qmp::Client>(loop_, std::move(stream));
    co_await client_->connect(start_limit);
    if (!process_) {
        const pid_t pid = daemon_pid(folder_);
        if (pid > 0) process_ = adopt_process(loop_, pid);
    }
    const Json exports = co_await ask("query-block-exports");
    for (const Json& one : exports) {
        const auto id = one.at("id").get<std::string>();
        if (id.starts_with("disk-")) devices_.insert(id.substr(5));
    }
    co_return true;
}

DiskServer QsdDatapath::Server::where(const std::string& device) const {
    return {socket("nbd"), device};
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
    co_await ask("blockdev-add", file_node(image, names, read_only));
    co_await ask("blockdev-add", format_node(image, names, backing, read_only));
    co_return names.format;
}

Task<void> QsdDatapath::Server::remove(std::string device) {
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
    if (alive()) {
        try {
            co_await client_->execute("quit", Json::object(), end_limit);
        } catch (const std::exception& error) {
            log::warn("storage_daemon_quit", {{"vm", vm_}, {"error", error.what()}});
        }
    }
    client_.reset();
    devices_.clear();
    if (process_) {
        try {
            co_await within(loop_, end_limit, reap(process_),
                            err::internal_error("the storage daemon does not end"));
        } catch (const ApiError&) {
            log::error("storage_daemon_killed", {{"vm", vm_}});
            process_->kill(SIGKILL);
        }
    }
    co_await blocking(loop_, [folder = folder_] {
        std::error_code ignored;
        fs::remove_all(folder, ignored);
    });
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
        if (name.starts_with(device + "-")) out.push_back(std::move(name));
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
