#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "base/stream.hpp"
#include "base/wait.hpp"

namespace basalt {

namespace {

constexpr std::size_t buffer_max = std::size_t{256} * 1024;

struct Pipe {
    explicit Pipe(Loop& loop) : changed(loop) {}

    std::string bytes;
    bool ended = false;
    Signal changed;
};

class MemoryStream final : public Stream {
  public:
    MemoryStream(std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out)
        : in_(std::move(in)), out_(std::move(out)) {}

    ~MemoryStream() override { MemoryStream::close(); }

    Task<std::size_t> read_some(std::span<char> buffer) override {
        const auto in = in_;
        while (in->bytes.empty() && !in->ended)
            co_await in->changed.wait();
        const std::size_t count = std::min(buffer.size(), in->bytes.size());
        std::copy_n(in->bytes.begin(), count, buffer.begin());
        in->bytes.erase(0, count);
        in->changed.notify_all();
        co_return count;
    }

    Task<void> write(std::string_view bytes) override {
        const auto out = out_;
        while (!bytes.empty()) {
            while (out->bytes.size() >= buffer_max && !out->ended)
                co_await out->changed.wait();
            if (out->ended) throw boost::system::system_error(asio::error::broken_pipe);
            const std::size_t count = std::min(bytes.size(), buffer_max - out->bytes.size());
            out->bytes.append(bytes.substr(0, count));
            bytes.remove_prefix(count);
            out->changed.notify_all();
        }
    }

    void shutdown_write() override { end(*out_); }

    void close() override {
        end(*out_);
        end(*in_);
    }

  private:
    static void end(Pipe& pipe) {
        pipe.ended = true;
        pipe.changed.notify_all();
    }

    std::shared_ptr<Pipe> in_;
    std::shared_ptr<Pipe> out_;
};

}  // namespace

std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> memory_streams(Loop& loop) {
    auto there = std::make_shared<Pipe>(loop);
    auto back = std::make_shared<Pipe>(loop);
    return {std::make_unique<MemoryStream>(back, there),
            std::make_unique<MemoryStream>(there, back)};
}

}  // namespace basalt
