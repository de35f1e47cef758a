#include "xapi/transfer/streams.hpp"

#include <algorithm>
#include <array>
#include <boost/system/system_error.hpp>

#include "base/json.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"

namespace basalt::transfer {

namespace {

constexpr std::size_t line_bytes_max = std::size_t{64} * 1024;

// One direction; the end of either ends both, so that nobody waits for a side that is gone.
Task<void> copy(Stream& from, Stream& to, std::size_t piece_bytes) {
    std::string buffer(piece_bytes, '\0');
    try {
        for (;;) {
            const std::size_t got = co_await from.read_some(buffer);
            if (got == 0) break;
            co_await to.write({buffer.data(), got});
        }
    } catch (const boost::system::system_error& error) {
        // A connection that breaks is how most consoles end.
        (void)error;
    }
    from.close();
    to.close();
}

}  // namespace

Task<void> join_streams(Loop& loop, Stream& one, Stream& other, std::size_t piece_bytes) {
    std::vector<Task<void>> directions;
    directions.push_back(copy(one, other, piece_bytes));
    directions.push_back(copy(other, one, piece_bytes));
    co_await all(loop, std::move(directions));
}

void throw_if_error(const std::string& line) {
    const Json answer = Json::parse(line, nullptr, false);
    if (!answer.is_object()) throw err::vdi_io_error("the disk's host broke the stream off");
    if (!answer.contains("error")) return;
    auto words = answer.at("error").get<std::vector<std::string>>();
    const std::string code = words.empty() ? "INTERNAL_ERROR" : words.front();
    if (!words.empty()) words.erase(words.begin());
    throw ApiError(code, std::move(words));
}

Task<std::string> LineReader::line() {
    for (;;) {
        if (const std::size_t end = pending_.find('\n'); end != std::string::npos) {
            std::string out = pending_.substr(0, end);
            pending_.erase(0, end + 1);
            co_return out;
        }
        std::array<char, 4096> buffer{};
        const std::size_t got =
            pending_.size() < line_bytes_max ? co_await stream_.read_some(buffer) : 0;
        if (got == 0) co_return std::exchange(pending_, {});
        pending_.append(buffer.data(), got);
    }
}

Task<std::size_t> LineReader::read_some(std::span<char> buffer) {
    if (pending_.empty()) co_return co_await stream_.read_some(buffer);
    const std::size_t count = std::min(buffer.size(), pending_.size());
    std::copy_n(pending_.begin(), count, buffer.begin());
    pending_.erase(0, count);
    co_return count;
}

}  // namespace basalt::transfer
