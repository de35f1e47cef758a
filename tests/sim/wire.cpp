#include "tests/sim/wire.hpp"

#include "base/rpc.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

namespace basalt::testing {

class Wire::Faulty final : public rpc::Channel {
  public:
    Faulty(Wire& wire, std::unique_ptr<rpc::Channel> inner)
        : wire_(wire), inner_(std::move(inner)) {}

    Task<rpc::Frame> receive() override {
        rpc::Frame frame = co_await inner_->receive();
        co_await wire_.pass(*this);
        co_return frame;
    }

    Task<void> send(rpc::Frame frame) override {
        co_await wire_.pass(*this);
        co_await inner_->send(std::move(frame));
    }

    void close() override { inner_->close(); }

  private:
    Wire& wire_;
    std::unique_ptr<rpc::Channel> inner_;
};

std::unique_ptr<rpc::Channel> Wire::wrap(std::unique_ptr<rpc::Channel> inner) {
    return std::make_unique<Faulty>(*this, std::move(inner));
}

void Wire::thaw() {
    frozen_ = false;
    thawed_.notify_all();
}

Task<void> Wire::pass(Faulty& channel) {
    while (frozen_)
        co_await thawed_.wait();
    ++frames_;
    if (break_in_ < 0 || break_in_-- > 0) co_return;
    broke_ = true;
    channel.close();
    throw boost::system::system_error(asio::error::eof);
}

}  // namespace basalt::testing
