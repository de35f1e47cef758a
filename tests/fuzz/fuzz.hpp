#pragma once
// What the fuzzers share: bytes of the input as a connection, in pieces that the input chooses.
#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "base/log.hpp"
#include "base/sim_loop.hpp"
#include "base/stream.hpp"
#include "base/wait.hpp"

namespace basalt::fuzz {

/// Ends the run with the input kept by libFuzzer: a property of the code does not hold.
inline void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
}

/// The first byte of an input says in what pieces the rest arrives; 0: all at once.
struct Input {
    Input(const std::uint8_t* data, std::size_t size) {
        if (size == 0) return;
        piece = data[0];
        bytes = {reinterpret_cast<const char*>(data) + 1, size - 1};
    }

    std::size_t piece = 0;
    std::string_view bytes;
};

/// The peer's side of a connection: says the input in its pieces, then ends; takes all it is told.
class ScriptStream final : public FdStream {
  public:
    explicit ScriptStream(Input input) : left_(input.bytes), piece_(input.piece) {}

    Task<std::size_t> read_some(std::span<char> buffer) override {
        if (closed_) throw boost::system::system_error(asio::error::operation_aborted);
        std::size_t count = std::min(buffer.size(), left_.size());
        if (piece_ > 0) count = std::min(count, piece_);
        std::copy_n(left_.begin(), count, buffer.begin());
        left_.remove_prefix(count);
        co_return count;
    }

    Task<FdMessage> read_with_fds(std::span<char> buffer) override {
        FdMessage message;
        message.bytes = co_await read_some(buffer);
        co_return message;
    }

    Task<void> write(std::string_view bytes) override {
        if (closed_) throw boost::system::system_error(asio::error::broken_pipe);
        written_ += bytes.size();
        co_return;
    }

    Task<void> write_with_fds(std::string_view bytes, std::span<const UniqueFd> /*fds*/) override {
        co_await write(bytes);
    }

    void shutdown_write() override {}

    void close() override { closed_ = true; }

    [[nodiscard]] int fd() const override { return -1; }

  private:
    std::string_view left_;
    std::size_t piece_;
    std::size_t written_ = 0;
    bool closed_ = false;
};

/// The same over a memory stream, for code that reads and writes at once.
inline Task<void> say(std::unique_ptr<Stream> stream, Input input) {
    std::string_view left = input.bytes;
    try {
        while (!left.empty()) {
            const std::size_t count =
                input.piece > 0 ? std::min(left.size(), input.piece) : left.size();
            co_await stream->write(left.substr(0, count));
            left.remove_prefix(count);
        }
        stream->shutdown_write();
        std::array<char, 4096> buffer;
        while (co_await stream->read_some(buffer) > 0) {
        }
    } catch (const boost::system::system_error&) {
        // The side under test has hung up.
    }
}

/// Errors of peers are what a fuzzer makes; lines about them would only slow it down.
inline void be_quiet() {
    log::set_level(log::Level::off);
}

}  // namespace basalt::fuzz
