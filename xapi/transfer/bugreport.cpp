#include "xapi/transfer/bugreport.hpp"

#include <array>
#include <boost/system/system_error.hpp>
#include <charconv>
#include <exception>
#include <format>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/transfer/web_address.hpp"

namespace basalt::transfer {

namespace {

constexpr Duration stall_limit = 60s;
constexpr std::size_t chunk_bytes = std::size_t{64} * 1024;
constexpr std::size_t head_bytes_max = std::size_t{16} * 1024;
// What clients of the API get from /system-status when they do not choose.
constexpr const char* format = "tar.bz2";

std::string request_to(const WebAddress& address) {
    std::string out = "PUT " + address.target + " HTTP/1.1\r\nHost: " + address.host_header +
                      "\r\nContent-Type: application/octet-stream\r\n"
                      "Transfer-Encoding: chunked\r\nConnection: close\r\n";
    if (!address.user.empty()) out += "Authorization: Basic " + base64(address.user) + "\r\n";
    return out + "\r\n";
}

Task<void> write_in_time(Loop& loop, Stream& stream, std::string_view bytes) {
    return within(loop, stall_limit, stream.write(bytes),
                  err::internal_error("the server takes nothing"));
}

Task<int> read_status(Stream& stream) {
    std::string head;
    std::array<char, 4096> buffer{};
    while (head.find("\r\n") == std::string::npos) {
        const std::size_t got = co_await stream.read_some(buffer);
        if (got == 0 || head.size() > head_bytes_max) break;
        head.append(buffer.data(), got);
    }
    int status = 0;
    const std::size_t space = head.find(' ');
    if (!head.starts_with("HTTP/1.") || space == std::string::npos)
        throw err::internal_error("the server does not speak HTTP");
    std::from_chars(head.data() + space + 1, head.data() + head.size(), status);
    co_return status;
}

Task<void> put(Loop& loop, Dial dial, std::string url, Stream& from) {
    const WebAddress address = parse_web_address(url);
    const auto to = co_await dial(address.host, address.port, address.tls);
    const std::string request = request_to(address);
    co_await write_in_time(loop, *to, request);
    std::string buffer(chunk_bytes, '\0');
    for (;;) {
        const std::size_t got = co_await from.read_some(buffer);
        if (got == 0) break;
        const std::string chunk = std::format("{:x}\r\n", got) + buffer.substr(0, got) + "\r\n";
        co_await write_in_time(loop, *to, chunk);
    }
    co_await write_in_time(loop, *to, "0\r\n\r\n");
    const int status = co_await within(loop, stall_limit, read_status(*to),
                                       err::internal_error("the server does not answer"));
    if (status < 200 || status > 299)
        throw err::internal_error("the server answers " + std::to_string(status));
}

}  // namespace

Task<void> put_stream(Loop& loop, Dial dial, std::string url, Stream& from) {
    std::string failure;
    try {
        co_return co_await put(loop, std::move(dial), std::move(url), from);
    } catch (const ApiError& error) {
        if (error.code() == "INVALID_VALUE") throw;
        failure = error.params().empty() ? error.code() : error.params().back();
    } catch (const boost::system::system_error& error) {
        if (is_cancellation(std::current_exception())) throw;
        failure = error.what();
    }
    throw err::internal_error(failure);
}

Task<void> upload_bugreport(Call& call, Adopt adopt, Dial dial,
                            xenapi::HostBugreportUpload params) {
    (void)call.db().get(params.host);
    (void)parse_web_address(params.url);
    if (!params.options.empty()) throw err::invalid_value("options", params.options.begin()->first);
    const auto bundle =
        adopt(co_await call.core().hosts->agent(params.host).host_bundle({{}, format}));
    co_await put_stream(call.core().loop, std::move(dial), std::move(params.url), *bundle);
}

}  // namespace basalt::transfer
