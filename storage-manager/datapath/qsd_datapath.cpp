#include "storage-manager/datapath/qsd_datapath.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "base/uuid.hpp"
#include "idl/errors.hpp"
#include "storage-manager/datapath/qsd_server.hpp"

namespace basalt::sm {

namespace fs = std::filesystem;

namespace {

// Part of node names, which have 31 characters.
void check_device(const std::string& device) {
    const bool plain =
        !device.empty() && device.size() <= 16 && std::ranges::all_of(device, [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        });
    if (!plain) throw err::internal_error("not a device name: " + device.substr(0, 32));
}

ApiError translated(const qmp::Error& error) {
    const std::string& text = error.description();
    if (text.find(" lock") != std::string::npos) return err::vdi_in_use("", text);
    if (text.find("No space left") != std::string::npos)
        return backend_failure(Failure::no_space, text);
    return backend_failure(Failure::vdi_unavailable, text);
}

// What the daemon refuses becomes an API error here, once.
template <class T>
Task<T> translating(Task<T> body) {
    try {
        co_return co_await std::move(body);
    } catch (const qmp::Error& error) {
        throw translated(error);
    }
}

}  // namespace

QsdDatapath::QsdDatapath(RealLoop& loop, fs::path run_folder,
                         std::shared_ptr<Confinement> confinement)
    : loop_(loop),
      run_folder_(std::move(run_folder)),
      confinement_(std::move(confinement)),
      queue_(loop) {}

QsdDatapath::~QsdDatapath() = default;

Task<std::vector<Datapath::Served>> QsdDatapath::adopt() {
    const auto folders = co_await blocking(loop_, [root = run_folder_] {
        std::vector<fs::path> found;
        // Guests' users pass through to their sockets; they cannot list it.
        fs::create_directories(root);
        fs::permissions(root, folder_mode);
        for (const auto& entry : fs::directory_iterator(root))
            if (entry.is_directory() && Uuid::parse(entry.path().filename().string()))
                found.push_back(entry.path());
        return found;
    });
    std::vector<Served> out;
    for (const fs::path& folder : folders) {
        const std::string vm = folder.filename().string();
        const auto server = std::make_shared<Server>(loop_, vm, folder, confinement_);
        const bool there = co_await server->connect();
        if (!there) {
            co_await server->stop();  // only its folder is left
            continue;
        }
        servers_[vm] = server;
        for (const std::string& device : server->devices())
            out.push_back({vm, device});
        log::info("storage_daemon_adopted", {{"vm", vm}, {"disks", server->devices().size()}});
    }
    co_return out;
}

Task<DiskServer> QsdDatapath::open(std::string vm, std::string device, Attachment disk) {
    check_device(device);
    const auto lease = co_await queue_.acquire(vm);
    const auto server = co_await started(vm);
    std::exception_ptr failure;
    try {
        co_await translating(server->add(device, std::move(disk)));
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) {
        co_await asio::this_coro::reset_cancellation_state();
        if (server->devices().empty()) co_await end(server);
        std::rethrow_exception(failure);
    }
    co_return server->where(device);
}

Task<void> QsdDatapath::close(std::string vm, std::string device) {
    const auto lease = co_await queue_.acquire(vm);
    const auto found = servers_.find(vm);
    if (found == servers_.end()) co_return;
    const auto server = found->second;
    if (server->alive() && server->devices().contains(device))
        co_await translating(server->remove(device));
    if (!server->alive() || server->devices().empty()) co_await end(server);
}

Task<void> QsdDatapath::close_all(std::string vm) {
    const auto lease = co_await queue_.acquire(vm);
    const auto found = servers_.find(vm);
    if (found != servers_.end()) co_await end(found->second);
}

Task<std::optional<ApiError>> QsdDatapath::switch_leaf(std::string vm, std::string device,
                                                       Image leaf) {
    const auto lease = co_await queue_.acquire(vm);
    const auto server = running(vm);
    co_return co_await server->switch_leaf(std::move(device), std::move(leaf));
}

Task<void> QsdDatapath::resize(std::string vm, std::string device, std::int64_t size_bytes) {
    const auto lease = co_await queue_.acquire(vm);
    const auto server = running(vm);
    co_await translating(server->resize(std::move(device), size_bytes));
}

Task<std::shared_ptr<QsdDatapath::Server>> QsdDatapath::started(std::string vm) {
    const auto known = servers_.find(vm);
    if (known != servers_.end() && known->second->alive()) co_return known->second;
    if (known != servers_.end()) co_await end(known->second);
    if (!Uuid::parse(vm)) throw err::internal_error("not a VM: " + vm.substr(0, 64));
    const auto server = std::make_shared<Server>(loop_, vm, run_folder_ / vm, confinement_);
    co_await server->start();
    servers_[vm] = server;
    co_return server;
}

Task<void> QsdDatapath::end(std::shared_ptr<Server> server) {
    servers_.erase(server->vm());
    co_await shielded(server->stop());
}

std::shared_ptr<QsdDatapath::Server> QsdDatapath::running(const std::string& vm) {
    const auto found = servers_.find(vm);
    if (found == servers_.end() || !found->second->alive())
        throw err::internal_error("no storage daemon serves " + vm);
    return found->second;
}

}  // namespace basalt::sm
