#include "tests/bench/bench_house.hpp"

#include <stdlib.h>

#include <array>
#include <charconv>
#include <stdexcept>
#include <vector>

#include "base/real_net.hpp"
#include "base/wait.hpp"
#include "idl/records.hpp"
#include "xapi/coordinator.hpp"
#include "xapi/db/store/store_sqlite.hpp"
#include "xapi/rpc/certificate.hpp"
#include "xapi/rpc/dispatch.hpp"
#include "xapi/rpc/endpoints.hpp"
#include "xapi/rpc/server.hpp"

namespace basalt::bench {

namespace {

using xenapi::Ref;

xenapi::Vm a_vm(int number) {
    xenapi::Vm vm;
    vm.name_label = "virtual machine " + std::to_string(number);
    vm.name_description = "made by a benchmark, as long as descriptions are";
    vm.memory_static_max = vm.memory_dynamic_max = vm.memory_dynamic_min = 1 << 30;
    vm.VCPUs_max = vm.VCPUs_at_startup = 2;
    for (const char* key :
         {"acpi", "apic", "device-model", "nx", "pae", "secureboot", "viridian", "vga", "videoram"})
        vm.platform.emplace(key, "true");
    for (int i = 0; i < 8; ++i)
        vm.other_config.emplace("key-" + std::to_string(i), "a value of usual length");
    vm.tags = {"bench", "all"};
    return vm;
}

Ref<xenapi::Vm> insert_one(db::Txn& txn, int number) {
    const Ref<xenapi::Vm> vm = txn.insert(a_vm(number));
    xenapi::Vdi disk;
    disk.name_label = "disk of " + std::to_string(number);
    disk.virtual_size = std::int64_t{8} << 30;
    const auto vdi = txn.insert(std::move(disk));
    xenapi::Vbd vbd;
    vbd.VM = vm;
    vbd.VDI = vdi;
    vbd.userdevice = "0";
    txn.insert(std::move(vbd));
    xenapi::Vif vif;
    vif.VM = vm;
    vif.device = "0";
    vif.MAC = "02:00:00:00:00:01";
    txn.insert(std::move(vif));
    return vm;
}

std::string insert_session(db::Database& db, std::int64_t now) {
    xenapi::Session row;
    row.is_local_superuser = true;
    row.auth_user_name = "root";
    row.last_active = xenapi::DateTime{now};
    return db.transact([&](db::Txn& txn) { return txn.insert(std::move(row)); }).text();
}

/// What was made must not be written any more while turns are measured.
Task<void> tell_when_durable(db::Database& db, std::atomic<std::uint16_t>& to, std::uint16_t port) {
    co_await db.durable(db.published());
    to = port;
    to.notify_all();
}

}  // namespace

void Turns::forget() {
    all = 0;
    over_1ms = 0;
    longest_us = 0;
}

House::House(int vms) {
    std::string name = "./fairness-bench-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    folder_ = name;
    thread_ = std::thread([this, vms] { serve(vms); });
    port_.wait(0);
}

House::~House() {
    stop_();
    thread_.join();
    std::filesystem::remove_all(folder_);
}

void House::serve(int vms) {
    RealLoop loop;
    db::SqliteStore store(loop, {.path = folder_ / "db"});
    Coordinator coordinator(loop, store);
    db::Database& db = coordinator.db();
    constexpr int at_once = 16;  // of a commit's size
    for (int done = 0; done < vms; done += at_once)
        db.transact([&](db::Txn& txn) {
            for (int i = done; i < std::min(done + at_once, vms); ++i)
                vm_ = insert_one(txn, i).text();
        });
    for (std::string& session : sessions_)
        session = insert_session(db, coordinator.core().now_seconds());
    server::ensure_certificate(folder_ / "server.pem", {"bench.example", {}, {}});
    server::TlsContext tls(folder_ / "server.pem");
    server::Metrics metrics;
    server::Sessions sessions(coordinator.core());
    server::Dispatcher dispatcher(coordinator.core(), coordinator.apis(), sessions, metrics);
    server::Router router;
    Limits& limits = coordinator.core().limits;
    server::add_rpc_routes(router, loop, dispatcher, limits);
    server::Server server(loop, router, &tls, limits);
    UniqueFd socket = server::listen_tcp("127.0.0.1", 0);
    const std::uint16_t port = server::port_of(socket);
    server.listen(loop, {server::Scheme::https, std::move(socket)});
    loop.on_turn([this](const turn::Report& report) {
        const auto us =
            std::chrono::duration_cast<std::chrono::microseconds>(report.worked).count();
        ++turns_.all;
        if (us > 1000) ++turns_.over_1ms;
        if (us > turns_.longest_us) turns_.longest_us = us;
    });
    std::shared_ptr<Job> stopping;
    stop_ = [&] {
        loop.post([&] {
            stopping = spawn(
                loop, "stop",
                [](server::Server& served, Coordinator& joined, RealLoop& turned) -> Task<void> {
                    co_await served.stop(0s);
                    co_await joined.stop();
                    turned.stop();
                }(server, coordinator, loop));
        });
    };
    const auto ready = spawn(loop, "ready", tell_when_durable(db, port_, port));
    loop.run();
}

Task<void> Client::connect() {
    stream_ = co_await server::tls_connect_unverified(
        loop_, co_await connect_tcp(loop_, "127.0.0.1", port_));
}

Task<std::size_t> Client::ask(std::string body) {
    const std::string bytes =
        "POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\n\r\n" + body;
    co_await stream_->write(bytes);
    std::vector<char> buffer(65536);
    std::size_t head_end = std::string::npos;
    while ((head_end = ahead_.find("\r\n\r\n")) == std::string::npos) {
        const std::size_t count = co_await stream_->read_some(buffer);
        if (count == 0) throw std::runtime_error("the server hung up");
        ahead_.append(buffer.data(), count);
    }
    if (!ahead_.starts_with("HTTP/1.1 200")) throw std::runtime_error(ahead_.substr(0, 200));
    constexpr std::string_view name = "content-length: ";
    const std::size_t at = ahead_.find(name) + name.size();
    std::size_t length = 0;
    std::from_chars(ahead_.data() + at, ahead_.data() + head_end, length);
    std::size_t have = ahead_.size() - head_end - 4;
    const bool failed = ahead_.find("\"error\":{") != std::string::npos;
    if (failed) throw std::runtime_error(ahead_.substr(head_end));
    ahead_.clear();
    while (have < length)
        have += co_await stream_->read_some(buffer);
    co_return length;
}

std::string request(std::string_view method, const std::vector<std::string>& params) {
    std::string text =
        R"({"jsonrpc":"2.0","id":1,"method":")" + std::string(method) + R"(","params":[)";
    for (const std::string& param : params) {
        if (&param != &params.front()) text += ',';
        const bool raw = param.starts_with('[') || param == "0.0";
        text += raw ? param : '"' + param + '"';
    }
    return text + "]}";
}

}  // namespace basalt::bench
