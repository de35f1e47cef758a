#include "base/stream_channel.hpp"

#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include "base/framing.hpp"
#include "base/json.hpp"

namespace basalt::rpc {

namespace {

[[noreturn]] void refuse(boost::system::error_code code) {
    throw boost::system::system_error(code);
}

class StreamChannel final : public Channel {
  public:
    explicit StreamChannel(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) {}

    Task<Frame> receive() override {
        Frame frame;
        frame.body = parse_foreign_json(
            co_await read_message([this](std::size_t bytes) { return read_exactly(bytes); }));
        if (!frame.body.is_object()) refuse(asio::error::invalid_argument);
        co_return frame;
    }

    Task<void> send(Frame frame) override {
        if (!frame.fds.empty())
            refuse(make_error_code(boost::system::errc::operation_not_supported));
        co_await stream_->write(
            framed(frame.body.dump(-1, ' ', false, Json::error_handler_t::replace)));
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

    std::unique_ptr<Stream> stream_;
    std::string pending_;
};

}  // namespace

std::unique_ptr<Channel> stream_channel(std::unique_ptr<Stream> stream) {
    return std::make_unique<StreamChannel>(std::move(stream));
}

}  // namespace basalt::rpc
