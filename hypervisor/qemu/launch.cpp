#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/system/system_error.hpp>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace {

constexpr Duration connect_limit = 60s;
constexpr Duration quit_limit = 3s;
constexpr std::size_t error_text_max = 500;

ApiError internal(std::string text) {
    return err::internal_error(std::move(text));
}

UniqueFd listening_socket(const std::string& path) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ::unlink(path.c_str());
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the shape of the call
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (!fd || ::bind(fd.get(), generic, sizeof address) != 0 || ::listen(fd.get(), 1) != 0)
        throw internal(path + ": " + std::strerror(errno));
    return fd;
}

void prepare_files(const DomainPaths& paths, const DomainConfig& config,
                   const Installation& installation) {
    std::filesystem::create_directories(paths.dir);
    std::filesystem::permissions(paths.dir, std::filesystem::perms::owner_all);
    const agent::BootSpec& boot = config.spec.boot;
    if (boot.kind != agent::BootKind::firmware || boot.firmware != agent::Firmware::uefi) return;
    if (std::filesystem::exists(paths.nvram)) return;
    std::filesystem::create_directories(std::filesystem::path(paths.nvram).parent_path());
    std::filesystem::copy_file(installation.firmware_vars, paths.nvram);
}

// The last thing QEMU said is why it ended.
std::string last_words(const std::string& path) {
    std::string text = read_file(path);
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    if (text.size() > error_text_max) text.erase(0, text.size() - error_text_max);
    return text;
}

Task<void> wait_gone(DomainPtr domain) {
    while (!domain->gone)
        co_await domain->changed.wait();
}

Task<bool> gone_within(DomainPtr domain, Duration limit) {
    const Time deadline = domain->loop.now() + limit;
    while (!domain->gone && domain->loop.now() < deadline)
        co_await domain->changed.wait_for(deadline - domain->loop.now());
    co_return domain->gone;
}

Task<void> connect_monitor(DomainPtr domain) {
    std::exception_ptr failure;
    try {
        co_await domain->monitor->connect(connect_limit);
    } catch (const ApiError&) {
        failure = std::current_exception();
    }
    if (!failure) co_return;
    const bool ended = co_await gone_within(domain, 2s);
    const std::string words = co_await blocking(
        domain->loop, [path = domain->paths.stderr_log()] { return last_words(path); });
    if (ended && !words.empty()) throw internal(words);
    std::rethrow_exception(failure);
}

Task<void> remove_files(DomainPtr domain) {
    co_await blocking(domain->loop,
                      [dir = domain->paths.dir] { std::filesystem::remove_all(dir); });
}

Task<void> kill_and_wait(DomainPtr domain) {
    domain->phase = Domain::Phase::ending;
    domain->process->kill(SIGKILL);
    co_await wait_gone(domain);
}

// Both ends of QMP, made before the child: {listening, connected}.
std::pair<UniqueFd, UniqueFd> monitor_sockets(const std::string& path) {
    UniqueFd listening = listening_socket(path);
    UniqueFd connected(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the shape of the call
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (!connected || ::connect(connected.get(), generic, sizeof address) != 0)
        throw internal(path + ": " + std::strerror(errno));
    return {std::move(listening), std::move(connected)};
}

void start(Domain& domain, const Installation& installation, bool incoming) {
    const DomainPaths& paths = domain.paths;
    auto [listening, connected] = monitor_sockets(paths.qmp());
    const UniqueFd errors(
        ::open(paths.stderr_log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    const Launch how{.wall_seconds = domain.loop.wall_ns() / 1'000'000'000, .incoming = incoming};
    const Command command{
        .argv = plan_command_line(domain.descriptor.config, domain.descriptor.machine, paths,
                                  installation, how),
        .inherit = {{errors.get(), 1}, {errors.get(), 2}, {listening.get(), how.qmp_fd}},
        .detached = true};
    domain.process = start_process(domain.loop, command);
    domain.monitor =
        std::make_unique<Monitor>(domain.loop, adopt_stream(domain.loop, std::move(connected)));
}

}  // namespace

agent::DomainInfo info(const Domain& domain) {
    const Descriptor& descriptor = domain.descriptor;
    agent::DomainInfo out;
    out.uuid = domain.uuid();
    out.domid = descriptor.dom;
    out.power = domain.running ? agent::DomainPower::running : agent::DomainPower::paused;
    out.started_at = descriptor.started_at;
    out.memory_bytes = descriptor.config.spec.memory_bytes;
    out.vcpus = descriptor.config.spec.vcpus;
    out.spec = descriptor.config.spec;
    out.spec->disks.clear();
    out.spec->nics.clear();
    for (const DiskAttachment& disk : descriptor.config.disks) {
        out.plugged_disks.push_back(disk.spec.device);
        out.spec->disks.push_back(disk.spec);
    }
    for (const NicAttachment& nic : descriptor.config.nics) {
        out.plugged_nics.push_back(nic.spec.device);
        out.spec->nics.push_back(nic.spec);
    }
    return out;
}

Task<void> save_descriptor(const Domain& domain) {
    co_await blocking(domain.loop, [path = domain.paths.descriptor(), value = domain.descriptor] {
        write_file(path, Json(value).dump());
    });
}

Task<void> launch(DomainPtr domain, Installation installation, bool incoming,
                  std::function<void()> started, Undo& undo) {
    undo.push("remove files", [domain] { return remove_files(domain); });
    co_await blocking(domain->loop, [domain, installation] {
        prepare_files(domain->paths, domain->descriptor.config, installation);
    });
    domain->descriptor.boot_id = co_await blocking(domain->loop, host_boot_id);
    domain->descriptor.started_at = domain->loop.wall_ns() / 1'000'000'000;
    co_await save_descriptor(*domain);
    try {
        start(*domain, installation, incoming);
    } catch (const boost::system::system_error& error) {
        throw internal(error.what());
    }
    started();
    undo.push("end the process", [domain] { return kill_and_wait(domain); });
    domain->descriptor.pid = domain->process->pid();
    domain->descriptor.process_start = co_await blocking(
        domain->loop, [pid = domain->descriptor.pid] { return process_start(pid); });
    co_await connect_monitor(domain);
    domain->console = std::make_unique<ConsoleHub>(domain->loop, domain->paths.serial(),
                                                   domain->paths.serial_log());
    co_await domain->console->connect();
}

Task<void> reconnect(DomainPtr domain) {
    domain->monitor = std::make_unique<Monitor>(
        domain->loop, co_await connect_unix(domain->loop, domain->paths.qmp()));
    domain->console = std::make_unique<ConsoleHub>(domain->loop, domain->paths.serial(),
                                                   domain->paths.serial_log());
    co_await domain->console->connect();
}

Task<void> end_process(DomainPtr domain) {
    if (!domain->gone && domain->monitor) {
        try {
            co_await within(domain->loop, quit_limit, domain->monitor->quit(),
                            internal("quit took too long"));
        } catch (const ApiError& error) {
            // It may be gone already, or stuck; both are seen to below.
            log::debug("qemu_quit", {{"vm", domain->uuid()}, {"error", error.what()}});
        }
    }
    if (co_await gone_within(domain, quit_limit)) co_return;
    log::warn("qemu_killed", {{"vm", domain->uuid()}, {"pid", domain->descriptor.pid}});
    domain->process->kill(SIGKILL);
    co_await wait_gone(domain);
}

}  // namespace basalt::hv::qemu
