#pragma once
// For the tests of this room only.
#include <array>
#include <fstream>
#include <iterator>
#include <string>

#include "base/sim_loop.hpp"
#include "base/stream.hpp"
#include "base/wait.hpp"

namespace basalt::server::testing {

inline std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// Sends `bytes`, ends its side, and reads all that comes back.
inline Task<void> exchange_bytes(std::unique_ptr<Stream> stream, std::string bytes,
                                 std::string& out) {
    co_await stream->write(bytes);
    stream->shutdown_write();
    std::array<char, 4096> buffer;
    for (;;) {
        const std::size_t count = co_await stream->read_some(buffer);
        if (count == 0) co_return;
        out.append(buffer.data(), count);
    }
}

}  // namespace basalt::server::testing
