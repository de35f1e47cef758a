#include "xapi/transfer/test_post.hpp"

#include <array>
#include <boost/system/system_error.hpp>
#include <exception>

#include "base/error.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"

namespace basalt::transfer {

namespace {

constexpr Duration answer_limit = 30s;
constexpr std::size_t answer_bytes_max = std::size_t{256} * 1024;
constexpr std::int64_t port_max = 65'535;

/// HTTP/1.0: the answer is then the rest of the stream, never in chunks.
std::string request_of(const xenapi::PoolSendTestPost& params) {
    return "POST / HTTP/1.0\r\nHost: " + params.host + ":" + std::to_string(params.port) +
           "\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(params.body.size()) +
           "\r\nConnection: close\r\n\r\n" + params.body;
}

Task<std::string> exchange(Dial dial, xenapi::PoolSendTestPost params) {
    const auto stream = co_await dial(params.host, static_cast<std::uint16_t>(params.port), true);
    const std::string request = request_of(params);
    co_await stream->write(request);
    std::string answer;
    std::array<char, 4096> buffer{};
    for (;;) {
        const std::size_t got = co_await stream->read_some(buffer);
        if (got == 0) break;
        answer.append(buffer.data(), got);
        if (answer.size() > answer_bytes_max) throw err::internal_error("the answer is too large");
    }
    const std::size_t end = answer.find("\r\n\r\n");
    if (!answer.starts_with("HTTP/1.") || end == std::string::npos)
        throw err::internal_error("the server does not speak HTTP");
    co_return answer.substr(end + 4);
}

}  // namespace

Task<std::string> send_test_post(Loop& loop, Dial dial, xenapi::PoolSendTestPost params) {
    if (params.port < 1 || params.port > port_max)
        throw err::invalid_value("port", std::to_string(params.port));
    if (params.host.empty() || params.host.find_first_of(" \r\n\t/") != std::string::npos)
        throw err::invalid_value("host", params.host);
    std::string failure;
    try {
        co_return co_await within(loop, answer_limit, exchange(std::move(dial), std::move(params)),
                                  err::internal_error("the server does not answer"));
    } catch (const ApiError& error) {  // how a connection fails is an import's error otherwise
        failure = error.params().empty() ? error.code() : error.params().back();
    } catch (const boost::system::system_error& error) {
        if (is_cancellation(std::current_exception())) throw;
        failure = error.what();
    }
    throw err::internal_error(failure);
}

}  // namespace basalt::transfer
