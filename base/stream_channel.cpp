#include "base/stream_channel.hpp"

#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include "base/framing.hpp"
#include "base/json.hpp"
#include "base/rpc.hpp"

namespace basalt::rpc {

namespace {

[[noreturn]] void refuse(boost::system::error_code code) {
    throw boost::system::system_error(code);
}

class StreamChannel final : public Channel {
  public:
    StreamChannel(Loop& loop, std::unique_ptr<Stream> stream)
        : loop_(loop), stream_(std::move(stream)) {}

    Task<Frame> receive() override {
        Frame frame;
        frame.body = co_await parse_message(loop_, co_await read_message([this](std::size_t bytes) {
                                                return read_exactly(bytes);
                                            }));
        co_return frame;
    }

    Task<void> send(Frame frame) override {
        if (!frame.fds.empty())
            refuse(make_error_code(boost::system::errc::operation_not_supported));
        const std::string bytes = co_await framed_json(loop_, std::move(frame.body));
        co_await stream_->write(bytes);
    }

    void close() override { stream_->close(); }

  private:
    Task<std::string> read_exactly(std::size_t size) {
        while (pending_.size() < size) {
            std::array<char, 16384> buffer{};
            const std::size_t got = co_await stream_->read_some(buffer);
            if (got == 0) refuse(asio::error::eof);
            pending_.append(buffer.data(), got);
        }
        std::string out = pending_.substr(0, size);
        pending_.erase(0, size);
        co_return out;
    }

    Loop& loop_;
    std::unique_ptr<Stream> stream_;
    std::string pending_;
};

}  // namespace

std::unique_ptr<Channel> stream_channel(Loop& loop, std::unique_ptr<Stream> stream) {
    return std::make_unique<StreamChannel>(loop, std::move(stream));
}

}  // namespace basalt::rpc
