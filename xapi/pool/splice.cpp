#include "xapi/pool/splice.hpp"

#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "base/wait.hpp"

namespace basalt::pool {

namespace {

constexpr std::size_t piece_bytes = std::size_t{64} * 1024;

enum class AtEnd { pass_on, close_both };

Task<void> copy(Stream& from, Stream& to, AtEnd at_end) {
    std::string buffer(piece_bytes, '\0');
    bool broken = false;
    try {
        for (;;) {
            const std::size_t got = co_await from.read_some(buffer);
            if (got == 0) break;
            co_await to.write(std::string_view(buffer).substr(0, got));
        }
    } catch (const boost::system::system_error&) {
        broken = true;  // how connections end, or cancelled: either way nothing more goes through
    }
    if (!broken && at_end == AtEnd::pass_on) {
        to.shutdown_write();
        co_return;
    }
    from.close();
    to.close();
}

}  // namespace

Task<void> splice(Loop& loop, Stream& client, Stream& server) {
    std::vector<Task<void>> directions;
    directions.push_back(copy(client, server, AtEnd::pass_on));
    directions.push_back(copy(server, client, AtEnd::close_both));
    co_await all(loop, std::move(directions));
}

}  // namespace basalt::pool
