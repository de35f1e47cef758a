// TLS records into our filter: a real client's connection, of which the input changes bytes at any
// place (handshake included), and raw records instead of a client.
#include <unistd.h>

#include <array>
#include <filesystem>
#include <stdexcept>

#include "tests/fuzz/fuzz.hpp"
#include "xapi/rpc/certificate.hpp"
#include "xapi/rpc/tls.hpp"

namespace {

using namespace basalt;

std::string certificate() {
    const auto path = std::filesystem::temp_directory_path() /
                      ("basalt-tls-fuzz-" + std::to_string(::getpid()) + ".pem");
    server::ensure_certificate(path, {"fuzz.example", {}, {}});
    return path;
}

server::TlsContext& context() {
    static const std::string path = certificate();
    static server::TlsContext made(path);
    static const bool removed = std::filesystem::remove(path);
    fuzz::require(removed, "the certificate was a file of ours");
    return made;
}

/// Passes bytes on; each step of the input skips some and changes one.
class Corrupting final : public Stream {
  public:
    Corrupting(std::unique_ptr<Stream> inner, std::string_view steps)
        : inner_(std::move(inner)), steps_(steps) {
        take_step();
    }

    Task<std::size_t> read_some(std::span<char> buffer) override {
        const std::size_t count = co_await inner_->read_some(buffer);
        for (std::size_t i = 0; i < count; ++i) {
            if (!armed_) break;
            if (distance_-- > 0) continue;
            buffer[i] = static_cast<char>(buffer[i] ^ change_);
            take_step();
        }
        co_return count;
    }

    Task<void> write(std::string_view bytes) override { return inner_->write(bytes); }

    void shutdown_write() override { inner_->shutdown_write(); }

    void close() override { inner_->close(); }

  private:
    void take_step() {
        armed_ = steps_.size() >= 3;
        if (!armed_) return;
        distance_ =
            static_cast<unsigned char>(steps_[0]) * 256 + static_cast<unsigned char>(steps_[1]);
        change_ = steps_[2];
        steps_.remove_prefix(3);
    }

    std::unique_ptr<Stream> inner_;
    std::string_view steps_;
    bool armed_ = false;
    int distance_ = 0;
    char change_ = 0;
};

const std::string message(3000, 'm');

Task<void> ask(Loop& loop, std::unique_ptr<Stream> raw, std::string& echoed) {
    try {
        const auto stream = co_await server::tls_connect_unverified(loop, std::move(raw));
        co_await stream->write(message);
        stream->shutdown_write();
        std::array<char, 4096> buffer;
        while (const std::size_t count = co_await stream->read_some(buffer))
            echoed.append(buffer.data(), count);
    } catch (const std::runtime_error&) {
        // The handshake or the connection failed.
    }
}

Task<void> echo(server::TlsAcceptor& acceptor, std::unique_ptr<Stream> raw, std::string& seen,
                bool& ended) {
    try {
        const auto stream = co_await acceptor.accept(std::move(raw), "192.0.2.1");
        std::array<char, 1000> buffer;
        while (stream) {
            const std::size_t count = co_await stream->read_some(buffer);
            if (count == 0) break;
            seen.append(buffer.data(), count);
            co_await stream->write({buffer.data(), count});
        }
        if (stream) stream->shutdown_write();
    } catch (const boost::system::system_error&) {
        // A record that is none, or the end.
    }
    ended = true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::be_quiet();
    const fuzz::Input input(data, size);
    const bool with_client = input.piece % 2 == 1;
    SimLoop loop(1);
    Limits limits;
    server::TlsAcceptor acceptor(loop, context(), limits);
    auto [near, far] = memory_streams(loop);
    std::string seen;
    std::string echoed;
    bool ended = false;
    if (with_client) {
        spawn(loop, "client", ask(loop, std::move(near), echoed));
        far = std::make_unique<Corrupting>(std::move(far), input.bytes);
    } else {
        spawn(loop, "client", fuzz::say(std::move(near), input));
    }
    spawn(loop, "server", echo(acceptor, std::move(far), seen, ended));
    loop.run_for(1h);
    fuzz::require(ended, "a connection whose peer has ended ends");
    // Whatever was changed on the way: what arrives is a part of what was said, from its start.
    fuzz::require(message.starts_with(seen), "nothing is invented");
    fuzz::require(message.starts_with(echoed), "nothing is invented on the way back");
    return 0;
}
