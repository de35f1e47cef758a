#include "network-manager/contract/ovs_rig.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <format>
#include <stdexcept>
#include <thread>

#include "base/log.hpp"

namespace basalt::nm {

namespace {

constexpr auto schema = "/usr/share/openvswitch/vswitch.ovsschema";

Task<void> stop_after(RealLoop& loop, std::shared_ptr<Job> job) {
    co_await job->wait();
    loop.stop();
}

Task<void> poll(RealLoop& loop, const char* what, std::function<bool()> done) {
    for (int tries = 0; !done(); ++tries) {
        if (tries > 2000) throw std::runtime_error(what);
        co_await sleep_for(loop, 5ms);
    }
}

void until(RealLoop& loop, const char* what, std::function<bool()> done) {
    turn(loop, poll(loop, what, std::move(done)));
}

void must(const std::string& command) {
    const auto [output, status] = run_shell(command);
    if (status != 0) throw std::runtime_error(command + ": " + output);
}

Task<void> wait_for(Process& process) {
    co_await process.wait();
}

}  // namespace

void turn(RealLoop& loop, Task<void> body) {
    const auto job = spawn(loop, "test", std::move(body));
    const auto stopper = spawn(loop, "stop", stop_after(loop, job));
    loop.context().restart();  // it was stopped by the turn before
    loop.run();
    if (job->failure()) std::rethrow_exception(job->failure());
}

std::string enter_namespace() {
    if (geteuid() != 0) return "needs root, for a network namespace";
    if (access("/dev/net/tun", R_OK | W_OK) != 0) return "needs /dev/net/tun";
    if (unshare(CLONE_NEWNET) != 0)
        return std::format("no network namespace: {}", std::strerror(errno));
    return {};
}

void make_interfaces() {
    must("ip link set lo up");
    for (const char* number : {"0", "1"})
        must(
            std::format("ip link add eth{0} address 02:00:00:00:00:1{0} type veth peer name "
                        "wire{0} && ip link set eth{0} up && ip link set wire{0} up",
                        number));
}

std::pair<std::string, int> run_shell(const std::string& command) {
    FILE* pipe = popen((command + " 2>&1").c_str(), "re");
    if (pipe == nullptr) throw std::runtime_error("popen");
    std::string output;
    std::array<char, 4096> buffer{};
    for (std::size_t got = 1; got > 0;) {
        got = fread(buffer.data(), 1, buffer.size(), pipe);
        output.append(buffer.data(), got);
    }
    const int status = pclose(pipe);
    return {output, WIFEXITED(status) ? WEXITSTATUS(status) : 128};
}

Neighbour::Neighbour(RealLoop& loop, const std::string& link, const std::string& cidr)
    : holder_(start_process(loop, {.argv = {"unshare", "-n", "sleep", "600"}})) {
    const std::string pid = std::to_string(holder_->pid());
    const auto space = [](const std::string& process) {
        return std::filesystem::read_symlink("/proc/" + process + "/ns/net");
    };
    until(loop, "no namespace for the neighbour", [&] { return space(pid) != space("self"); });
    must(std::format("ip link set {} netns {}", link, pid));
    const int status =
        run(std::format("ip link set lo up; ip link set {} name eth0 && "
                        "ip addr add {} dev eth0 && ip link set eth0 up",
                        link, cidr));
    if (status != 0) throw std::runtime_error("neighbour " + link);
}

Neighbour::~Neighbour() {
    holder_->kill(SIGKILL);
}

int Neighbour::run(const std::string& shell) const {
    return run_shell(std::format("nsenter -t {} -n sh -c '{}'", holder_->pid(), shell)).second;
}

std::size_t Neighbour::send(const std::string& address, std::size_t bytes) const {
    sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(5001)};
    inet_pton(AF_INET, address.c_str(), &to.sin_addr);
    const timeval limit{.tv_sec = 5};
    const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    setsockopt(listener.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (bind(listener.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0 ||
        listen(listener.get(), 1) != 0)
        throw std::runtime_error("listen on " + address);
    // A thread may be in another namespace than its process.
    const std::jthread sender([&] {
        const UniqueFd space(
            open(std::format("/proc/{}/ns/net", holder_->pid()).c_str(), O_RDONLY | O_CLOEXEC));
        if (setns(space.get(), CLONE_NEWNET) != 0) return;
        const UniqueFd out(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        setsockopt(out.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (connect(out.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) return;
        const std::string data(bytes, 'x');
        for (std::size_t sent = 0; sent < bytes;) {
            const ssize_t n = ::send(out.get(), data.data(), bytes - sent, MSG_NOSIGNAL);
            if (n <= 0) return;
            sent += static_cast<std::size_t>(n);
        }
    });
    const UniqueFd in(accept(listener.get(), nullptr, nullptr));
    setsockopt(in.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    std::size_t arrived = 0;
    std::array<char, 65536> buffer{};
    for (ssize_t n = 1; n > 0 && arrived < bytes;) {
        n = recv(in.get(), buffer.data(), buffer.size(), 0);
        if (n > 0) arrived += static_cast<std::size_t>(n);
    }
    return arrived;
}

std::string OvsRig::why_not() {
    for (const char* tool : {"/usr/sbin/ovsdb-server", "/usr/sbin/ovs-vswitchd", schema})
        if (access(tool, R_OK) != 0) return std::format("needs Open vSwitch ({})", tool);
    return enter_namespace();
}

OvsRig::OvsRig() {
    std::string name = "/tmp/basalt-ovs-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = name;
    for (const char* variable : {"OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"})
        setenv(variable, name.c_str(), 1);
    make_interfaces();
    must(std::format("ovsdb-tool create {}/conf.db {}", name, schema));
    start_database();
    start_switch();
    start_agent();
}

OvsRig::~OvsRig() {
    stop_agent();
    stop_switch(SIGTERM);
    stop_database(SIGTERM);
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

std::unique_ptr<Process> OvsRig::start(std::vector<std::string> argv) {
    return start_process(loop_, {.argv = std::move(argv), .directory = directory_});
}

void OvsRig::start_database() {
    const std::string socket = directory_ / "db.sock";
    std::filesystem::remove(socket);
    database_ = start({"ovsdb-server", directory_ / "conf.db", "--remote=punix:" + socket,
                       "--log-file=" + (directory_ / "ovsdb.log").string(),
                       "--unixctl=" + (directory_ / "ovsdb.ctl").string(),
                       "--pidfile=" + (directory_ / "ovsdb-server.pid").string()});
    until(loop_, "ovsdb-server", [&] { return std::filesystem::exists(socket); });
}

void OvsRig::start_switch() {
    switch_ = start({"ovs-vswitchd", "unix:" + (directory_ / "db.sock").string(),
                     "--log-file=" + (directory_ / "vswitchd.log").string(),
                     "--unixctl=" + (directory_ / "vswitchd.ctl").string(),
                     "--pidfile=" + (directory_ / "ovs-vswitchd.pid").string()});
}

void OvsRig::stop_database(int signal) {
    if (!database_) return;
    database_->kill(signal);
    turn(loop_, wait_for(*database_));
    database_.reset();
}

void OvsRig::stop_switch(int signal) {
    if (!switch_) return;
    switch_->kill(signal);
    turn(loop_, wait_for(*switch_));
    switch_.reset();
}

void OvsRig::start_agent() {
    ovsdb::OvsConfig config;
    config.database = directory_ / "db.sock";
    config.datapath = "netdev";
    config.limit = 3s;
    network_ = std::make_unique<ovsdb::OvsNetwork>(loop_, config);
    running_ = spawn(loop_, "network", network_->run());
}

void OvsRig::stop_agent() {
    if (!running_) return;
    running_->cancel();
    turn(loop_, running_->wait());
    running_.reset();
    network_.reset();
}

void OvsRig::restart_agent() {
    stop_agent();
    start_agent();
}

void OvsRig::run(Body body) {
    turn(loop_, body(*network_));
}

std::string OvsRig::shell(const std::string& command) const {
    return run_shell(command).first;
}

std::unique_ptr<Rig> make_ovs_rig(std::string& why_not) {
    why_not = OvsRig::why_not();
    if (!why_not.empty()) return nullptr;
    return std::make_unique<OvsRig>();
}

}  // namespace basalt::nm
