#include "storage-manager/datapath/stream_parts.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "base/real_net.hpp"
#include "base/wait.hpp"

namespace basalt::sm::streams {

namespace {

bool is_zero(const char* bytes, std::size_t size) {
    return size == 0 || (bytes[0] == 0 && std::memcmp(bytes, bytes + 1, size - 1) == 0);
}

}  // namespace

Task<std::unique_ptr<nbd::Client>> open_disk(RealLoop& loop, int fd) {
    return nbd::Client::open(adopt_stream(loop, UniqueFd(fd)), "disk");
}

Task<void> announce(Stream& out, std::uint64_t size_bytes, std::string_view version) {
    std::string line = "{\"size\":" + std::to_string(size_bytes);
    if (!version.empty()) line += ",\"version\":\"" + std::string(version) + "\"";
    line += "}\n";
    co_await out.write(line);
}

Task<std::size_t> read_full(Stream& in, std::span<char> buffer) {
    std::size_t done = 0;
    while (done < buffer.size()) {
        const std::size_t got = co_await in.read_some(buffer.subspan(done));
        if (got == 0) break;
        done += got;
    }
    co_return done;
}

Task<void> put(nbd::Client& client, std::uint64_t at, std::string_view bytes) {
    if (is_zero(bytes.data(), bytes.size())) {
        co_await client.write_zeroes(at, static_cast<std::uint32_t>(bytes.size()));
    } else {
        co_await client.write(at, bytes);
    }
}

Task<void> overlap(RealLoop& loop, Filler fill, Drain drain) {
    std::vector<char> present(nbd::request_bytes_max);
    std::vector<char> next(nbd::request_bytes_max);
    std::size_t filled = co_await fill(present);
    while (filled > 0) {
        const auto coming = std::make_shared<std::optional<std::size_t>>();
        std::vector<Task<void>> both;
        both.push_back(drain({present.data(), filled}));
        both.push_back(store_result(coming, fill(next)));
        co_await all_or_none(loop, std::move(both));
        filled = **coming;
        std::swap(present, next);
    }
}

std::vector<Range> read_ranges(std::uint64_t end) {
    std::vector<Range> out;
    unsigned long long offset = 0;
    unsigned long long length = 0;
    while (std::scanf("%llu %llu", &offset, &length) == 2)
        if (offset < end) out.push_back({offset, std::min<std::uint64_t>(length, end - offset)});
    return out;
}

}  // namespace basalt::sm::streams
