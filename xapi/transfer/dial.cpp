#include "xapi/transfer/dial.hpp"

#include <netdb.h>

#include <array>
#include <boost/system/system_error.hpp>
#include <stdexcept>
#include <vector>

#include "base/real_net.hpp"
#include "base/released.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "xapi/rpc/tls.hpp"

namespace basalt::transfer {

namespace {

using Found = std::unique_ptr<addrinfo, Released<freeaddrinfo>>;

/// Numeric, in the order of the system's preference.
std::vector<std::string> addresses_of(const std::string& host) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* first = nullptr;
    if (const int rc = ::getaddrinfo(host.c_str(), nullptr, &hints, &first); rc != 0)
        throw err::import_error(host + ": " + ::gai_strerror(rc));
    const Found found(first);
    std::vector<std::string> out;
    for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next) {
        std::array<char, NI_MAXHOST> text{};
        if (::getnameinfo(one->ai_addr, one->ai_addrlen, text.data(), text.size(), nullptr, 0,
                          NI_NUMERICHOST) == 0)
            out.emplace_back(text.data());
    }
    return out;
}

}  // namespace

Task<std::unique_ptr<Stream>> dial(RealLoop& loop, std::string host, std::uint16_t port, bool tls) {
    const std::vector<std::string> addresses =
        co_await blocking(loop, [host] { return addresses_of(host); });
    std::string failure = "it has no address";
    for (const std::string& address : addresses) {
        std::unique_ptr<Stream> stream;
        try {
            stream = co_await connect_tcp(loop, address, port);
            if (tls)
                stream = co_await server::tls_connect_unverified(loop, std::move(stream), host);
        } catch (const std::runtime_error& error) {  // system_error is one, too
            failure = error.what();
            stream.reset();
        }
        if (stream) co_return stream;
    }
    throw err::import_error(host + ": " + failure);
}

}  // namespace basalt::transfer
