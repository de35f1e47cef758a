#pragma once
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>

#include <memory>
#include <string>
#include <system_error>

#include "base/released.hpp"

/// libnl's objects with owners, and its codes as system errors.
namespace basalt::nm::netlink {

using Socket = std::unique_ptr<nl_sock, Released<nl_socket_free>>;
using Cache = std::unique_ptr<nl_cache, Released<nl_cache_free>>;
using Link = std::unique_ptr<rtnl_link, Released<rtnl_link_put>>;
using Address = std::unique_ptr<nl_addr, Released<nl_addr_put>>;
using LinkAddress = std::unique_ptr<rtnl_addr, Released<rtnl_addr_put>>;
using Route = std::unique_ptr<rtnl_route, Released<rtnl_route_put>>;

/// A socket of its own for every call: a thread may be in another network namespace than the last.
Socket connected();

/// Of libnl's codes, which are errno's where that has one.
const std::error_category& category();

/// Throws what libnl answered unless it is 0.
void check(int code, const std::string& what);
[[noreturn]] void fail(int code, const std::string& what);

/// `code` is what a function of libnl returned: negative for errors.
inline bool is(int code, int error) {
    return code == -error;
}

}  // namespace basalt::nm::netlink
