#include "tests/bench/daemons.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <utility>

#include "base/uuid.hpp"
#include "tests/bench/client.hpp"
#include "xapi/rpc/server.hpp"

namespace basalt::bench {

namespace {

constexpr uid_t xapi_uid = 4210;
constexpr std::int64_t machine_bytes = std::int64_t{1} << 40;  // all VMs run at once
constexpr auto start_limit = std::chrono::seconds(60);
constexpr int first_handed_fd = 3;

UniqueFd listen_unix(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(fd.get(), 512) != 0)
        throw std::runtime_error(path + ": " + std::strerror(errno));
    return fd;
}

std::string fresh_uuid() {
    std::ifstream file("/proc/sys/kernel/random/uuid");
    std::string text;
    file >> text;
    return text;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> out;
    for (const std::string& text : texts)
        out.push_back(const_cast<char*>(text.c_str()));
    out.push_back(nullptr);
    return out;
}

/// In the child: never returns.
[[noreturn]] void become(const std::vector<std::string>& argv, const std::string& log,
                         const std::vector<int>& sockets, const std::string& names,
                         const std::vector<std::string>& environment) {
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(out, 1);
    ::dup2(out, 2);
    // Through high numbers, so that none is overwritten before it is copied.
    std::vector<int> high;
    for (const int socket : sockets)
        high.push_back(::fcntl(socket, F_DUPFD, 100));
    for (std::size_t i = 0; i < high.size(); ++i)
        ::dup2(high[i], first_handed_fd + static_cast<int>(i));
    ::closefrom(first_handed_fd + static_cast<int>(sockets.size()));
    if (!sockets.empty()) {
        ::setenv("LISTEN_FDS", std::to_string(sockets.size()).c_str(), 1);
        ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    }
    for (const std::string& entry : environment)
        ::putenv(const_cast<char*>(entry.c_str()));
    ::execv(argv.front().c_str(), pointers(argv).data());
    ::_exit(127);
}

}  // namespace

double cpu_seconds(pid_t process) {
    clockid_t clock{};
    timespec time{};
    if (::clock_getcpuclockid(process, &clock) != 0 || ::clock_gettime(clock, &time) != 0)
        throw std::runtime_error("the process has ended");
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double memory_mb(pid_t process, const std::string& field) {
    std::ifstream file("/proc/" + std::to_string(process) + "/status");
    for (std::string word; file >> word;) {
        if (word != field + ":") continue;
        double kib = 0;
        file >> kib;
        return kib * 1024 / 1e6;
    }
    throw std::runtime_error("no " + field);
}

Process::Process(const std::vector<std::string>& argv, const std::string& log,
                 const std::vector<int>& sockets, const std::string& names,
                 const std::vector<std::string>& environment)
    : pid_(::fork()) {
    if (pid_ < 0) throw std::runtime_error("fork");
    if (pid_ == 0) become(argv, log, sockets, names, environment);
}

Process& Process::operator=(Process&& other) noexcept {
    stop();
    pid_ = std::exchange(other.pid_, 0);
    return *this;
}

Process::~Process() {
    stop();
}

void Process::stop() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
}

Daemons::Daemons(std::filesystem::path programs) : programs_(std::move(programs)) {
    std::string name = std::filesystem::temp_directory_path() / "basalt-bench-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    folder_ = name;
    ::chmod(name.c_str(), 0755);
    std::filesystem::create_directories(folder_ / "xapi");
    std::filesystem::create_directories(folder_ / "hostd");
    if (::chown((folder_ / "xapi").c_str(), xapi_uid, xapi_uid) != 0)
        throw std::runtime_error("the benchmark needs root, as xapi is started without it");
    unix_ = listen_unix(unix_path());
    http_ = server::listen_tcp("127.0.0.1", 0);
    https_ = server::listen_tcp("127.0.0.1", 0);
    http_port_ = server::port_of(http_);
    https_port_ = server::port_of(https_);
    write_config();
    hostd_ =
        Process({programs_ / "hostd", "--config", folder_ / "basalt.toml"}, folder_ / "hostd.log");
}

Daemons::~Daemons() {
    xapi_.stop();
    hostd_.stop();
    std::filesystem::remove_all(folder_);
}

void Daemons::write_config() {
    const std::string here = folder_;
    std::ofstream(folder_ / "basalt.toml")
        << "[host]\nuuid = \"" << fresh_uuid()
        << "\"\nhostname = \"bench\"\naddress = \"192.0.2.1/24\"\nmanagement = \"eth0\"\n"
        << "boot_id = \"" << fresh_uuid() << "\"\nstate = \"" << here << "/hostd\"\n"
        << "[hostd]\nsocket = \"" << here
        << "/hostd.sock\"\nbackend = \"sim\"\nsim_memory_bytes = " << machine_bytes
        << "\nxapi_uid = " << xapi_uid << "\nrun_dir = \"" << here << "/hostd\"\n"
        << "[storage]\nlocal_sr = \"" << here << "/sr\"\niso_sr = \"" << here << "/iso\"\n"
        << "[xapi]\nstore = \"" << here << "/xapi/xapi.db\"\ntls = \"" << here
        << "/xapi/tls.pem\"\n";
}

double Daemons::start_xapi(int sync_delay_ms) {
    std::vector<std::string> environment;
    if (sync_delay_ms > 0) {
        // A copy that xapi's user can open, or the loader would go on without it.
        const auto preloaded = folder_ / "libslow_sync.so";
        std::filesystem::copy_file(
            std::filesystem::read_symlink("/proc/self/exe").replace_filename("libslow_sync.so"),
            preloaded, std::filesystem::copy_options::overwrite_existing);
        environment = {"LD_PRELOAD=" + preloaded.string(),
                       "SYNC_DELAY_MS=" + std::to_string(sync_delay_ms)};
    }
    const auto began = std::chrono::steady_clock::now();
    xapi_ = Process(
        {programs_ / "confine", "--uid", std::to_string(xapi_uid), "--network", "--all-files",
         "--open-files", "65536", "--", programs_ / "xapi", "--config", folder_ / "basalt.toml"},
        folder_ / "xapi.log", {unix_.get(), http_.get(), https_.get()}, "unix:http:https",
        environment);
    // Connections wait in the backlog, logins are refused until the start of day is over.
    while (std::chrono::steady_clock::now() < began + start_limit) {
        try {
            Client client({Transport::unix_socket, unix_path(), 0});
            (void)client.login();
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        } catch (const std::runtime_error&) {
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
    }
    throw std::runtime_error("xapi does not serve, see " + (folder_ / "xapi.log").string());
}

}  // namespace basalt::bench
