#include "hypervisor/qemu/handed.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace {

[[noreturn]] void throw_errno(const std::string& what) {
    throw err::internal_error(what + ": " + std::strerror(errno));
}

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
}

UniqueFd unix_socket(const std::string& path) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) throw_errno(path);
    return fd;
}

// Only root may connect: the file's mode is what connecting asks for.
UniqueFd listening_socket(const std::string& path) {
    UniqueFd fd = unix_socket(path);
    const sockaddr_un address = address_of(path);
    ::unlink(path.c_str());
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the shape of the call
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (::bind(fd.get(), generic, sizeof address) != 0 || ::listen(fd.get(), 1) != 0)
        throw_errno(path);
    return fd;
}

UniqueFd connected_socket(const std::string& path) {
    UniqueFd fd = unix_socket(path);
    const sockaddr_un address = address_of(path);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the shape of the call
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (::connect(fd.get(), generic, sizeof address) != 0) throw_errno(path);
    return fd;
}

UniqueFd open_file(const std::string& path, int flags) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) throw_errno(path);
    return fd;
}

}  // namespace

std::vector<Command::Inherit> Handed::inherit() const {
    std::vector<Command::Inherit> out;
    for (const auto& [as, fd] : files)
        out.push_back({fd.get(), as});
    return out;
}

Handed open_handed(const DomainConfig& config, const Machine& machine, const DomainPaths& paths) {
    Handed out;
    UniqueFd words = open_file(paths.stderr_log(), O_WRONLY | O_CREAT | O_APPEND);
    out.files[1] = UniqueFd(::fcntl(words.get(), F_DUPFD_CLOEXEC, 0));
    out.files[2] = std::move(words);
    out.files[Descriptors::qmp] = listening_socket(paths.qmp());
    out.monitor = connected_socket(paths.qmp());
    out.files[Descriptors::serial] = listening_socket(paths.serial());
    out.files[Descriptors::agent] = listening_socket(paths.agent());
    out.files[Descriptors::serial_log] =
        open_file(paths.serial_log(), O_WRONLY | O_CREAT | O_APPEND);
    if (has_nvram(config.spec.boot)) out.files[Descriptors::nvram] = open_file(paths.nvram, O_RDWR);
    if (machine.accelerated) out.files[Descriptors::kvm] = open_file("/dev/kvm", O_RDWR);
    if (machine.seed) out.files[Descriptors::seed] = open_file(paths.seed(), O_RDONLY);
    for (const NicAttachment& nic : config.nics)
        out.files[Descriptors::tap(nic.spec.device)] = open_tap(nic.tap);
    return out;
}

UniqueFd open_tap(const std::string& name) {
    UniqueFd fd = open_file("/dev/net/tun", O_RDWR);
    ifreq request{};
    name.copy(request.ifr_name, sizeof request.ifr_name - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) throw_errno(name);
    return fd;
}

UniqueFd open_usb(const std::string& node) {
    return open_file(node, O_RDWR);
}

}  // namespace basalt::hv::qemu
