#include "network-manager/linux/netlink.hpp"

#include <netlink/errno.h>

#include <cstdlib>
#include <new>

namespace basalt::nm::netlink {

namespace {

class Category final : public std::error_category {
  public:
    [[nodiscard]] const char* name() const noexcept override { return "netlink"; }

    [[nodiscard]] std::string message(int code) const override { return nl_geterror(code); }
};

}  // namespace

const std::error_category& category() {
    static const Category instance;
    return instance;
}

void fail(int code, const std::string& what) {
    throw std::system_error(std::abs(code), category(), what);
}

void check(int code, const std::string& what) {
    if (code < 0) fail(code, what);
}

Socket connected() {
    Socket socket(nl_socket_alloc());
    if (!socket) throw std::bad_alloc();
    check(nl_connect(socket.get(), NETLINK_ROUTE), "netlink socket");
    return socket;
}

}  // namespace basalt::nm::netlink
