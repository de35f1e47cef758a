#include "host-agent/sim/sim_services.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "idl/errors.hpp"

namespace basalt::agent::sim {

namespace {

UniqueFd memory_file() {
    UniqueFd fd(::memfd_create("suspend-image", MFD_CLOEXEC));
    if (!fd) throw err::internal_error(std::string("memfd: ") + std::strerror(errno));
    return fd;
}

UniqueFd same_file(const UniqueFd& fd) {
    return UniqueFd(::dup(fd.get()));
}

std::string contents_of(const UniqueFd& fd) {
    std::string out(static_cast<std::size_t>(::lseek(fd.get(), 0, SEEK_END)), '\0');
    if (::pread(fd.get(), out.data(), out.size(), 0) != static_cast<ssize_t>(out.size()))
        throw err::internal_error("the suspend image cannot be read");
    return out;
}

}  // namespace

Task<HostFacts> SimServices::facts() {
    co_return options_.facts;
}

Task<void> SimServices::login(LoginArgs args) {
    if (options_.services) co_return co_await options_.services->login(std::move(args));
    if (args.user != "root" || args.password != options_.password)
        throw err::session_authentication_failed(args.user, "wrong password");
    co_return;
}

Task<void> SimServices::change_password(ChangePasswordArgs args) {
    if (options_.services) co_return co_await options_.services->change_password(std::move(args));
    if (args.user != "root" || args.old != options_.password)
        throw err::session_authentication_failed(args.user, "wrong password");
    options_.password = args.new_;
    co_return;
}

Task<std::string> SimServices::plugin_call(PluginCallArgs args) {
    if (options_.services) co_return co_await options_.services->plugin_call(std::move(args));
    throw err::xenapi_missing_plugin(args.plugin);
    co_return "";
}

Task<HostTime> SimServices::time() {
    HostTime now;
    now.seconds = loop_.wall_ns() / 1'000'000'000;
    now.utc_offset_seconds = options_.utc_offset_seconds;
    co_return now;
}

// One end says who it is and is kept, so that the other stays open.
Task<UniqueFd> SimServices::open_console() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw err::internal_error(std::string("console: ") + std::strerror(errno));
    UniqueFd ours(ends[0]);
    UniqueFd theirs(ends[1]);
    const std::string greeting = options_.facts.hostname + " login: ";
    ::send(ours.get(), greeting.data(), greeting.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    consoles_.push_back(std::move(ours));
    co_return theirs;
}

std::string Shared::leaf_of(const std::string& vdi) const {
    for (const auto& [name, repository] : disks->repositories)
        if (const auto found = repository.disks.find(vdi); found != repository.disks.end())
            return found->second.image;
    return {};
}

const std::string* Shared::suspended_in(const std::string& vdi) const {
    for (std::string path = leaf_of(vdi); !path.empty(); path = disks->images.at(path).backing)
        if (const auto found = images.find(path); found != images.end()) return &found->second;
    return nullptr;
}

Task<void> SimImages::store(hv::DiskAttachment disk, Use fill) {
    const std::string key = shared_.leaf_of(disk.spec.disk->vdi);
    shared_.images.erase(key);
    const UniqueFd file = memory_file();
    co_await fill(same_file(file));
    shared_.images[key] = contents_of(file);
}

Task<void> SimImages::load(hv::DiskAttachment disk, Use drain) {
    const std::string* found = shared_.suspended_in(disk.spec.disk->vdi);
    if (found == nullptr) throw err::internal_error("the disk holds no suspend image");
    const UniqueFd file = memory_file();
    const std::string bytes = *found;
    if (::pwrite(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
        throw err::internal_error("the suspend image cannot be copied");
    co_await drain(same_file(file));
}

}  // namespace basalt::agent::sim
