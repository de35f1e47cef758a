#include "storage-manager/datapath/relay.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/system/system_error.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "idl/errors.hpp"
#include "storage-manager/datapath/chain.hpp"

namespace basalt::sm {

namespace fs = std::filesystem;

namespace {

constexpr Duration open_limit = 20s;
constexpr CgroupLimits relay_limits = {
    .memory_bytes_max = std::int64_t{1} << 30, .pids_max = 256, .cpu_weight = 100};
// Of its complaints, which lie in memory.
constexpr std::int64_t log_bytes_max = 64 * 1024;
constexpr std::string_view pid_begin = "relay-";
constexpr std::string_view pid_end = ".pid";

struct Sockets {
    UniqueFd listening;
    UniqueFd probe;  // the first to connect: it is greeted once the image is open
};

[[noreturn]] void throw_errno(const std::string& what) {
    throw err::internal_error(what + ": " + std::strerror(errno));
}

// The owner is whom the file's mode lets connect; root may anyway.
Sockets make_sockets(const std::string& at, uid_t client) {
    Sockets out{UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
                UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (at.size() >= sizeof address.sun_path) errno = ENAMETOOLONG;
    if (at.size() >= sizeof address.sun_path || !out.listening || !out.probe) throw_errno(at);
    at.copy(address.sun_path, at.size());
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the shape of the call
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (::bind(out.listening.get(), generic, sizeof address) != 0 ||
        ::chmod(at.c_str(), 0600) != 0 || ::chown(at.c_str(), client, client) != 0 ||
        ::listen(out.listening.get(), 4) != 0 ||
        ::connect(out.probe.get(), generic, sizeof address) != 0)
        throw_errno(at);
    return out;
}

bool greeted(int client) {
    char first = 0;
    return ::recv(client, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

std::string text_of(int fd) {
    std::string text(1000, '\0');
    const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    while (text.ends_with('\n'))
        text.pop_back();
    return text;
}

// g++ 14 fails on some lists of strings inside a coroutine, hence a function of its own.
std::vector<std::string> arguments(const Image& image) {
    return {"qemu-nbd", "--export-name=disk", "--shared=1", "--read-only",
            json_filename({{image}, true}, true)};
}

Task<void> reap(std::shared_ptr<Process> process, std::string vm) {
    const int status = co_await process->wait();
    log::info("relay_ended", {{"vm", vm}, {"status", status}});
}

}  // namespace

Relays::Relays(RealLoop& loop, std::string vm, fs::path folder,
               std::shared_ptr<Confinement> confinement)
    : loop_(loop),
      vm_(std::move(vm)),
      folder_(std::move(folder)),
      confinement_(std::move(confinement)) {}

std::string Relays::pid_file(const std::string& name) const {
    return folder_ / (std::string(pid_begin) + name + std::string(pid_end));
}

Task<void> Relays::hold() {
    if (!slot_) slot_ = co_await confinement_->slots.hold("relay " + vm_);
}

Task<void> Relays::start(std::string name, Image image, std::string at, uid_t client) {
    co_await hold();
    const auto sockets = std::make_shared<Sockets>();
    const auto command = std::make_shared<Command>();
    const UniqueFd complaints(::memfd_create("qemu-nbd", MFD_CLOEXEC));
    co_await blocking(loop_, [&] {
        *sockets = make_sockets(at, client);
        Cell cell;
        cell.uid = slot_->storage();
        cell.groups = confinement_->groups.make(group(), relay_limits);
        cell.network = true;
        cell.pid_file = pid_file(name);
        cell.file_bytes_max = log_bytes_max;
        command->argv = confined(confinement_->launcher, cell, arguments(image));
    });
    command->env = {"LISTEN_FDS=1"};
    command->inherit = {{complaints.get(), 2}, {sockets->listening.get(), 3}};
    command->detached = true;
    const std::shared_ptr<Process> process = start_process(loop_, *command);
    sockets->listening.reset();
    const auto ended = spawn(loop_, "relay", reap(process, vm_));
    const Time deadline = loop_.now() + open_limit;
    std::exception_ptr failure;
    try {
        while (!greeted(sockets->probe.get()) && !ended->finished() && loop_.now() < deadline)
            co_await sleep_for(loop_, 5ms);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (!failure && greeted(sockets->probe.get())) co_return;
    process->kill(SIGKILL);
    if (failure) std::rethrow_exception(failure);
    const std::string why = text_of(complaints.get());
    throw backend_failure(Failure::vdi_unavailable,
                          why.empty() ? "the server does not answer" : why);
}

void Relays::end(const std::string& prefix) {
    const std::string begin = std::string(pid_begin) + prefix;
    std::vector<std::string> found;
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(folder_, failed)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with(begin) && name.ends_with(pid_end)) found.push_back(entry.path());
    }
    for (const std::string& file : found) {
        const pid_t pid = process_of(file);
        if (pid > 0) ::kill(pid, SIGKILL);
        ::unlink(file.c_str());
    }
}

void Relays::forget() {
    confinement_->groups.remove(group());
    slot_.reset();
}

Task<void> Relays::adopt() {
    const bool any = co_await blocking(loop_, [folder = folder_] {
        std::error_code failed;
        for (const auto& entry : fs::directory_iterator(folder, failed))
            if (entry.path().filename().string().starts_with(pid_begin)) return true;
        return false;
    });
    if (any) co_await hold();
}

}  // namespace basalt::sm
