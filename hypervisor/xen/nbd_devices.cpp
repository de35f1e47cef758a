#include "hypervisor/xen/nbd_devices.hpp"

#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/nbd.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <boost/system/system_error.hpp>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>

#include "base/error.hpp"
#include "base/nbd.hpp"
#include "base/real_net.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

namespace fs = std::filesystem;

constexpr const char* family_name = "nbd";
constexpr const char* block_devices = "/sys/block";
constexpr std::uint64_t sector_bytes = 512;
// How long a guest's requests wait for a connection that broke to be made anew.
constexpr std::uint64_t patience_seconds = 60;

template <auto release>
struct Release {
    template <class T>
    void operator()(T* object) const {
        release(object);
    }
};

using Socket = std::unique_ptr<nl_sock, Release<nl_socket_free>>;
using Message = std::unique_ptr<nl_msg, Release<nlmsg_free>>;

[[noreturn]] void fail(const std::string& what, int code) {
    throw err::internal_error("nbd: " + what + ": " + nl_geterror(code));
}

std::string tag_of(const std::string& vm, const std::string& device) {
    return vm + "/" + device;
}

// -- generic netlink ------------------------------------------------------------------------------

/// One request of a generic netlink family and what it answers.
class Request {
  public:
    Request(int family, std::uint8_t command) : message_(nlmsg_alloc()) {
        nlmsghdr* const head = nlmsg_put(message_.get(), NL_AUTO_PORT, NL_AUTO_SEQ, family,
                                         GENL_HDRLEN, NLM_F_REQUEST | NLM_F_ACK);
        if (head == nullptr) fail("request", -NLE_NOMEM);
        *static_cast<genlmsghdr*>(nlmsg_data(head)) = {.cmd = command, .version = 1, .reserved = 0};
    }

    nl_msg* get() { return message_.get(); }

    /// The attribute `wanted` of the answer; nullopt when it brought none.
    std::optional<std::uint32_t> send(const char* what, int wanted = 0) {
        const Socket socket(nl_socket_alloc());
        int code = socket ? nl_connect(socket.get(), NETLINK_GENERIC) : -NLE_NOMEM;
        Answer answer{.wanted = wanted};
        nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, &Request::take, &answer);
        nl_socket_modify_cb(socket.get(), NL_CB_ACK, NL_CB_CUSTOM, &Request::finish, &answer);
        if (code >= 0) code = nl_send_auto(socket.get(), message_.get());
        while (code >= 0 && !answer.finished)
            code = nl_recvmsgs_default(socket.get());
        if (code < 0) fail(what, code);
        return answer.value;
    }

  private:
    struct Answer {
        int wanted = 0;
        bool finished = false;
        std::optional<std::uint32_t> value;
    };

    static int take(nl_msg* message, void* context) {
        auto& answer = *static_cast<Answer*>(context);
        const nlattr* const found = nlmsg_find_attr(nlmsg_hdr(message), GENL_HDRLEN, answer.wanted);
        if (answer.wanted == 0 || found == nullptr) return NL_OK;
        answer.value = nla_len(found) == 2 ? nla_get_u16(found) : nla_get_u32(found);
        return NL_OK;
    }

    static int finish(nl_msg* /*message*/, void* context) {
        static_cast<Answer*>(context)->finished = true;
        return NL_STOP;
    }

    Message message_;
};

int family() {
    Request request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    nla_put_string(request.get(), CTRL_ATTR_FAMILY_NAME, family_name);
    const auto number = request.send("the kernel's module", CTRL_ATTR_FAMILY_ID);
    if (!number) fail("the kernel's module", -NLE_OBJ_NOTFOUND);
    return static_cast<int>(*number);
}

// -- the kernel's devices -------------------------------------------------------------------------

/// Their tags and numbers.
std::map<std::string, std::uint32_t> connected() {
    std::map<std::string, std::uint32_t> out;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(block_devices, none)) {
        const std::string name = entry.path().filename();
        if (!name.starts_with("nbd")) continue;
        std::ifstream file(entry.path() / "backend");
        std::string tag;
        std::uint32_t number = 0;
        const auto parsed = std::from_chars(name.data() + 3, name.data() + name.size(), number);
        if (parsed.ec == std::errc() && file >> tag) out.emplace(tag, number);
    }
    return out;
}

std::optional<std::uint32_t> number_of(const std::string& tag) {
    const auto all = connected();
    const auto found = all.find(tag);
    if (found == all.end()) return std::nullopt;
    return found->second;
}

std::string path_of(std::uint32_t number) {
    return "/dev/nbd" + std::to_string(number);
}

/// A connection that the server has agreed to, for the kernel to use.
struct Served {
    std::unique_ptr<nbd::Client> client;
    UniqueFd socket;
};

Task<Served> served(RealLoop& loop, DiskAttachment disk) {
    std::unique_ptr<FdStream> stream;
    try {
        stream = co_await connect_unix(loop, disk.nbd_socket);
    } catch (const boost::system::system_error& error) {
        throw err::internal_error("nbd: " + disk.nbd_socket + ": " + error.code().message());
    }
    UniqueFd socket(::fcntl(stream->fd(), F_DUPFD_CLOEXEC, 0));
    co_return Served{co_await nbd::Client::open(std::move(stream), disk.nbd_export),
                     std::move(socket)};
}

// The kernel's socket calls wait by themselves, whatever the descriptor's mode.
void describe(nl_msg* message, const Served& from, const std::string& tag) {
    nla_put_u64(message, NBD_ATTR_SIZE_BYTES, from.client->size_bytes());
    nla_put_string(message, NBD_ATTR_BACKEND_IDENTIFIER, tag.c_str());
    nlattr* const sockets = nla_nest_start(message, NBD_ATTR_SOCKETS);
    nlattr* const item = nla_nest_start(message, NBD_SOCK_ITEM);
    nla_put_u32(message, NBD_SOCK_FD, static_cast<std::uint32_t>(from.socket.get()));
    nla_nest_end(message, item);
    nla_nest_end(message, sockets);
}

std::uint32_t connect(const Served& from, const std::string& tag) {
    Request request(family(), NBD_CMD_CONNECT);
    nl_msg* const message = request.get();
    describe(message, from, tag);
    nla_put_u64(message, NBD_ATTR_BLOCK_SIZE_BYTES, sector_bytes);
    nla_put_u64(message, NBD_ATTR_SERVER_FLAGS, from.client->flags());
    nla_put_u64(message, NBD_ATTR_DEAD_CONN_TIMEOUT, patience_seconds);
    const auto number = request.send("connect", NBD_ATTR_INDEX);
    if (!number) fail("connect", -NLE_MISSING_ATTR);
    return *number;
}

void reconnect(const Served& from, const std::string& tag) {
    const auto number = number_of(tag);
    if (!number) fail("reconnect " + tag, -NLE_OBJ_NOTFOUND);
    Request request(family(), NBD_CMD_RECONFIGURE);
    nla_put_u32(request.get(), NBD_ATTR_INDEX, *number);
    describe(request.get(), from, tag);
    request.send("reconnect");
}

void disconnect(std::uint32_t number) {
    Request request(family(), NBD_CMD_DISCONNECT);
    nla_put_u32(request.get(), NBD_ATTR_INDEX, number);
    request.send("disconnect");
}

}  // namespace

Task<std::string> connect_disk(RealLoop& loop, std::string vm, DiskAttachment disk) {
    const std::string tag = tag_of(vm, disk.spec.device);
    const auto known = co_await blocking(loop, [tag] { return number_of(tag); });
    if (known) co_return path_of(*known);
    const auto from = std::make_shared<Served>();
    *from = co_await served(loop, std::move(disk));
    co_return path_of(co_await blocking(loop, [from, tag] { return connect(*from, tag); }));
}

Task<void> reconnect_disk(RealLoop& loop, std::string vm, DiskAttachment disk) {
    const std::string tag = tag_of(vm, disk.spec.device);
    const auto from = std::make_shared<Served>();
    *from = co_await served(loop, std::move(disk));
    co_await blocking(loop, [from, tag] { reconnect(*from, tag); });
}

void disconnect_disk(const std::string& vm, const std::string& device) {
    if (const auto number = number_of(tag_of(vm, device))) disconnect(*number);
}

void disconnect_disks(const std::string& vm) {
    for (const auto& [tag, number] : connected())
        if (tag.starts_with(vm + "/")) disconnect(number);
}

std::string path_of_disk(const std::string& vm, const std::string& device) {
    const auto number = number_of(tag_of(vm, device));
    return number ? path_of(*number) : "";
}

}  // namespace basalt::hv::xen
