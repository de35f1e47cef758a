#include "base/stream_channel.hpp"

#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

namespace basalt::rpc {

namespace {

constexpr std::size_t length_bytes = 4;

[[noreturn]] void refuse(boost::system::error_code code) {
    throw boost::system::system_error(code);
}

class StreamChannel final : public Channel {
  public:
    explicit StreamChannel(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) {}

    Task<Frame> receive() override {
        std::size_t size = 0;
        const std::string header = co_await read_exactly(length_bytes);
        for (const char c : header)
            size = size << 8U | static_cast<unsigned char>(c);
        if (size > frame_bytes_max) refuse(asio::error::message_size);
        const std::string text = co_await read_exactly(size);
        Frame frame;
        frame.body = Json::parse(text, nullptr, false);
        if (!frame.body.is_object()) refuse(asio::error::invalid_argument);
        co_return frame;
    }

    Task<void> send(Frame frame) override {
        if (!frame.fds.empty())
            refuse(make_error_code(boost::system::errc::operation_not_supported));
        const std::string text = frame.body.dump(-1, ' ', false, Json::error_handler_t::replace);
        if (text.size() > frame_bytes_max) refuse(asio::error::message_size);
        std::string bytes(length_bytes, '\0');
        for (std::size_t i = 0; i < length_bytes; ++i)
            bytes[i] = static_cast<char>(text.size() >> (24 - 8 * i));
        bytes += text;
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

    std::unique_ptr<Stream> stream_;
    std::string pending_;
};

}  // namespace

std::unique_ptr<Channel> stream_channel(std::unique_ptr<Stream> stream) {
    return std::make_unique<StreamChannel>(std::move(stream));
}

}  // namespace basalt::rpc
