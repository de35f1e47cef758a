#include "hypervisor/contract/guest_bench.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/system/system_error.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/real_net.hpp"
#include "hypervisor/qemu/descriptor.hpp"

namespace basalt::hv::contract {

namespace {

namespace fs = std::filesystem;

// One guest at a time on a busy machine under emulation.
constexpr Duration guest_limit = 120s;

}  // namespace

std::string guest_folder() {
    if (const char* brought = std::getenv("BASALT_GUEST")) return brought;
    const char* set = std::getenv("BASALT_CACHE");
    return std::string(set != nullptr ? set : "/var/cache/basalt") + "/contract-guest";
}

std::string make_guest() {
    // Elsewhere than on a machine that may fetch packages it was brought along.
    if (std::getenv("BASALT_GUEST") != nullptr) return "";
    RealLoop loop(1);
    std::string why;
    const auto job = spawn(loop, "make guest", [](RealLoop& l, std::string* out) -> Task<void> {
        try {
            const Output made = co_await run_command(
                l, {.argv = {"hypervisor/contract/guest/make", guest_folder()}}, 300s);
            if (made.status != 0) *out = "no guest: " + made.err;
        } catch (const ApiError& error) {
            *out = error.what();
        } catch (const boost::system::system_error& error) {
            *out = error.what();
        }
        l.stop();
    }(loop, &why));
    loop.run();
    return why;
}

GuestBench::GuestBench() {
    std::string pattern = "/tmp/bhv.XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    dir_ = pattern;
    // Guests run as users of their own, who pass through here to their storage.
    fs::permissions(dir_, fs::perms::owner_all | fs::perms::others_exec);
}

GuestBench::~GuestBench() {
    end_processes();
    storage_.reset();
    fs::remove_all(dir_);
}

DomainConfig GuestBench::config() {
    DomainConfig config;
    config.spec.uuid = loop_.new_uuid().text();
    config.spec.memory_bytes = std::int64_t{128} << 20;
    config.spec.vcpus = config.spec.vcpus_max = 1;
    config.spec.boot = {.kind = agent::BootKind::kernel,
                        .kernel = guest_folder() + "/vmlinuz",
                        .ramdisk = guest_folder() + "/initrd.gz"};
    config.spec.on_shutdown = agent::OnHalt::destroy;
    config.spec.on_reboot = agent::OnHalt::restart;
    config.spec.on_crash = agent::OnHalt::destroy;
    return config;
}

std::string GuestBench::new_node() {
    return "f-" + std::to_string(++last_node_);
}

void GuestBench::end_processes() {
    for (const pid_t pid : qemu::processes_mentioning(dir_ + "/"))
        ::kill(pid, SIGKILL);
}

void GuestBench::run(std::function<Task<void>()> body) {
    const auto job = spawn(loop_, "test", run_and_stop(std::move(body)));
    loop_.context().restart();
    loop_.run();
    if (job->failure()) std::rethrow_exception(job->failure());
    if (!job->finished()) throw ApiError("INTERNAL_ERROR", {"the test did not run to its end"});
}

Task<DiskAttachment> GuestBench::disk(std::string device, std::int64_t position,
                                      agent::DiskKind kind, std::string text) {
    co_await start_storage();
    const std::string file = dir_ + "/" + device + "-" + text;
    std::ofstream(file) << text << '\n';
    fs::resize_file(file, static_cast<std::uintmax_t>(disk_bytes));
    const std::string node = new_node();
    co_await storage_->execute("blockdev-add",
                               {{"driver", "file"}, {"node-name", node}, {"filename", file}});
    co_await serve(node, device + "-" + text);
    DiskAttachment disk;
    disk.spec.vbd = loop_.new_uuid().text();
    disk.spec.device = device;
    disk.spec.position = position;
    disk.spec.kind = kind;
    disk.spec.access = kind == agent::DiskKind::cd ? agent::Access::ro : agent::Access::rw;
    disk.nbd_socket = dir_ + "/nbd";
    disk.nbd_export = device + "-" + text;
    nodes_[disk.nbd_export] = node;
    co_return disk;
}

Task<void> GuestBench::grow(DiskAttachment disk, std::int64_t bytes) {
    // A server does not resize what it serves: the guest's connection breaks and comes back.
    const std::string node = nodes_.at(disk.nbd_export);
    co_await storage_->execute("block-export-del", {{"id", "e-" + node}, {"mode", "hard"}});
    for (;;) {
        const Json exports = co_await storage_->execute("query-block-exports");
        if (!exports.dump().contains("\"e-" + node + "\"")) break;
        co_await sleep_for(loop_, 20ms);
    }
    co_await storage_->execute("block_resize", {{"node-name", node}, {"size", bytes}});
    co_await serve(node, disk.nbd_export);
}

DomainConfig GuestBench::failing_config() {
    DomainConfig failing = config();
    DiskAttachment missing;
    missing.spec.device = "xvda";
    missing.nbd_socket = dir_ + "/nobody";
    missing.nbd_export = "disk";
    failing.disks.push_back(missing);
    return failing;
}

Task<void> GuestBench::power_off(DomId dom) {
    return type(dom, "poweroff");
}

Task<void> GuestBench::reboot(DomId dom) {
    return type(dom, "reboot");
}

Task<void> GuestBench::panic(DomId dom) {
    return type(dom, "panic");
}

Task<double> GuestBench::uptime(DomId dom) {
    const UniqueFd fd = co_await hv().open_console(dom, agent::ConsoleKind::serial);
    // What was said before is not news: wait for two new ones.
    std::string said = co_await read_until(loop_, fd.get(), "\n", guest_limit);
    co_await sleep_for(loop_, 100ms);
    said += co_await read_until(loop_, fd.get(), "\ntick ", guest_limit);
    said += co_await read_until(loop_, fd.get(), "\n", guest_limit);
    const auto at = said.rfind("tick ");
    co_return std::stod(said.substr(at + 5));
}

Task<std::vector<std::string>> GuestBench::disks(DomId dom) {
    std::vector<std::string> out;
    std::istringstream words(co_await ask(dom, "disks"));
    for (std::string word; words >> word;)
        out.push_back(word.substr(word.find('=') + 1));
    co_return out;
}

Task<std::vector<std::string>> GuestBench::nics(DomId dom) {
    std::vector<std::string> out;
    std::istringstream words(co_await ask(dom, "nics"));
    for (std::string word; words >> word;)
        out.push_back(word);
    co_return out;
}

Task<std::string> GuestBench::cd(DomId dom) {
    std::string text = co_await ask(dom, "cd");
    text.erase(0, text.find_first_not_of(' '));
    co_return text;
}

Task<std::string> GuestBench::find(DomId dom, std::string beginning) {
    return word(dom, "find", " " + beginning);
}

Task<std::string> GuestBench::cpus(DomId dom) {
    return word(dom, "cpus", "");
}

Task<std::string> GuestBench::tpm(DomId dom) {
    return word(dom, "tpm", "");
}

Task<void> GuestBench::keep_in_tpm(DomId dom, std::string four) {
    const std::string said = co_await word(dom, "tpmkeep", " " + four);
    if (!said.starts_with("8002") || said.substr(12, 8) != "00000000")
        throw ApiError("INTERNAL_ERROR", {"the TPM said " + said});
}

Task<std::string> GuestBench::kept_in_tpm(DomId dom) {
    const std::string said = co_await word(dom, "tpmkept", "");
    // Head, size of the parameters, size of the data, the data, the session.
    constexpr std::size_t data_at = 2 * (10 + 4 + 2);
    std::string out;
    if (said.size() < 20 || said.substr(12, 8) != "00000000") co_return out;
    for (std::size_t i = 0; i < 4; ++i)
        out += static_cast<char>(std::stoi(said.substr(data_at + 2 * i, 2), nullptr, 16));
    co_return out;
}

Task<void> GuestBench::run_and_stop(std::function<Task<void>()> body) {
    std::exception_ptr failure;
    try {
        co_await body();
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    loop_.stop();
    if (failure) std::rethrow_exception(failure);
}

Task<void> GuestBench::start_storage() {
    if (storage_) co_return;
    const std::string socket = dir_ + "/qsd";
    const Command command{.argv = {"qemu-storage-daemon", "--chardev",
                                   "socket,id=q,path=" + socket + ",server=on,wait=off",
                                   "--monitor", "chardev=q", "--nbd-server",
                                   "addr.type=unix,addr.path=" + dir_ + "/nbd"}};
    daemon_ = start_process(loop_, command);
    std::unique_ptr<FdStream> stream;
    for (int tries = 0; !stream && tries < 500; ++tries) {
        try {
            stream = co_await connect_unix(loop_, socket);
        } catch (const boost::system::system_error&) {
            stream.reset();
        }
        if (!stream) co_await sleep_for(loop_, 20ms);
    }
    storage_ = std::make_unique<qmp::Client>(loop_, std::move(stream));
    co_await storage_->connect();
    fs::permissions(dir_ + "/nbd", fs::perms::all);
}

Task<void> GuestBench::serve(std::string node, std::string name, bool writable) {
    co_await storage_->execute("block-export-add", {{"type", "nbd"},
                                                    {"id", "e-" + node},
                                                    {"node-name", node},
                                                    {"name", name},
                                                    {"writable", writable}});
}

Task<void> GuestBench::type(DomId dom, std::string line) {
    const UniqueFd fd = co_await hv().open_console(dom, agent::ConsoleKind::serial);
    line += "\n";
    ::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL);
    co_await sleep_for(loop_, 50ms);
}

// What the guest answers after `WORD:` up to the full stop.
Task<std::string> GuestBench::ask(DomId dom, std::string word, std::string argument) {
    const UniqueFd fd = co_await hv().open_console(dom, agent::ConsoleKind::serial);
    // A marker tells this answer from earlier ones in the replay.
    const std::string mark = std::to_string(++last_mark_);
    const std::string line = word + argument + "\necho end" + mark + "\n";
    ::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL);
    const std::string said = co_await read_until(loop_, fd.get(), "said: end" + mark, guest_limit);
    const auto begin = said.rfind(word + ":");
    const auto end = said.find('.', begin);
    if (begin == std::string::npos || end == std::string::npos)
        throw ApiError("INTERNAL_ERROR", {"no answer to " + word + " in " + said});
    co_return said.substr(begin + word.size() + 1, end - begin - word.size() - 1);
}

Task<std::string> GuestBench::word(DomId dom, std::string command, std::string argument) {
    std::string text = co_await ask(dom, std::move(command), std::move(argument));
    text.erase(0, text.find_first_not_of(' '));
    co_return text;
}

}  // namespace basalt::hv::contract
