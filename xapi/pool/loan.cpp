#include "xapi/pool/loan.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

namespace basalt::pool {

struct Loan::State {
    State(Loop& loop, Stream& lent) : stream(&lent), changed(loop) {}

    Stream* stream;
    Signal changed;
    bool over = false;
    int under_way = 0;

    void end() {
        if (std::exchange(over, true)) return;
        stream->close();
        changed.notify_all();
    }
};

namespace {

/// A read or write that the handler waits for.
class Use {
  public:
    explicit Use(std::shared_ptr<Loan::State> state) : state_(std::move(state)) {
        if (state_->over) throw boost::system::system_error(asio::error::operation_aborted);
        ++state_->under_way;
    }

    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    ~Use() {
        --state_->under_way;
        state_->changed.notify_all();
    }

    [[nodiscard]] Stream& stream() const { return *state_->stream; }

  private:
    std::shared_ptr<Loan::State> state_;
};

class Borrowed final : public Stream {
  public:
    explicit Borrowed(std::shared_ptr<Loan::State> state) : state_(std::move(state)) {}

    ~Borrowed() override { state_->end(); }

    Task<std::size_t> read_some(std::span<char> buffer) override {
        const Use use(state_);
        co_return co_await use.stream().read_some(buffer);
    }

    Task<void> write(std::string_view bytes) override {
        const Use use(state_);
        co_await use.stream().write(bytes);
    }

    void shutdown_write() override {
        if (!state_->over) state_->stream->shutdown_write();
    }

    void close() override { state_->end(); }

  private:
    std::shared_ptr<Loan::State> state_;
};

Task<void> settled(std::shared_ptr<Loan::State> state) {
    while (!state->over || state->under_way > 0)
        co_await state->changed.wait();
}

}  // namespace

Loan::Loan(Loop& loop, Stream& stream) : state_(std::make_shared<State>(loop, stream)) {}

Loan::~Loan() {
    state_->end();
}

std::unique_ptr<Stream> Loan::stream() {
    return std::make_unique<Borrowed>(state_);
}

void Loan::recall() {
    state_->end();
}

Task<void> Loan::given_back() {
    std::exception_ptr cancelled;
    try {
        co_await settled(state_);
    } catch (const boost::system::system_error&) {
        cancelled = std::current_exception();
    }
    if (!cancelled) co_return;
    state_->end();
    co_await asio::this_coro::reset_cancellation_state();
    co_await shielded(settled(state_));
    std::rethrow_exception(cancelled);
}

}  // namespace basalt::pool
