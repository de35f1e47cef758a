#include "base/rpc.hpp"

#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <deque>

#include "base/framing.hpp"
#include "base/json.hpp"
#include "base/log.hpp"

namespace basalt::rpc {

namespace {

constexpr std::size_t frames_in_a_turn = 32;

[[noreturn]] void throw_end() {
    throw boost::system::system_error(asio::error::eof);
}

[[noreturn]] void throw_garbage() {
    throw boost::system::system_error(asio::error::invalid_argument);
}

/// The number of a call. Throws for what is none: the other end is broken.
std::uint64_t number_of(const Json& value) {
    if (!value.is_number_unsigned()) throw_garbage();
    return value.get<std::uint64_t>();
}

/// A member that may be absent; throws when it is not a text.
std::string text_of(const Json& body, const char* name) {
    const auto found = body.find(name);
    if (found == body.end()) return {};
    if (!found->is_string()) throw_garbage();
    return found->get<std::string>();
}

class SocketChannel final : public Channel {
  public:
    SocketChannel(Loop& loop, std::unique_ptr<FdStream> stream)
        : loop_(loop), stream_(std::move(stream)) {}

    Task<Frame> receive() override {
        Frame frame;
        frame.body = co_await parse_message(loop_, co_await read_message([this](std::size_t bytes) {
                                                return read_exactly(bytes);
                                            }));
        take_fds(frame);
        co_return frame;
    }

    Task<void> send(Frame frame) override {
        if (!frame.fds.empty()) frame.body[fds_member] = frame.fds.size();
        const std::string bytes = co_await framed_json(loop_, std::move(frame.body));
        co_await stream_->write_with_fds(bytes, frame.fds);
    }

    void close() override { stream_->close(); }

  private:
    Task<std::string> read_exactly(std::size_t size) {
        while (pending_.size() < size) {
            std::array<char, 16384> buffer{};
            FdMessage got = co_await stream_->read_with_fds(buffer);
            if (got.bytes == 0) throw_end();
            pending_.append(buffer.data(), got.bytes);
            for (UniqueFd& fd : got.fds)
                fds_.push_back(std::move(fd));
        }
        std::string out = pending_.substr(0, size);
        pending_.erase(0, size);
        co_return out;
    }

    // Descriptors come with the first byte of their frame, but that byte may be read together with
    // the frames before it: each says how many are its own.
    void take_fds(Frame& frame) {
        const auto said = frame.body.find(fds_member);
        if (said == frame.body.end()) return;
        if (!said->is_number_unsigned() || said->get<std::uint64_t>() > fds_.size())
            throw_garbage();
        for (auto left = said->get<std::uint64_t>(); left > 0; --left) {
            frame.fds.push_back(std::move(fds_.front()));
            fds_.pop_front();
        }
    }

    static constexpr const char* fds_member = "fds";

    Loop& loop_;
    std::unique_ptr<FdStream> stream_;
    std::string pending_;
    std::deque<UniqueFd> fds_;
};

struct FrameQueue {
    explicit FrameQueue(Loop& loop) : changed(loop) {}

    std::deque<Frame> frames;
    bool ended = false;
    Signal changed;
};

class MemoryChannel final : public Channel {
  public:
    MemoryChannel(std::shared_ptr<FrameQueue> in, std::shared_ptr<FrameQueue> out)
        : in_(std::move(in)), out_(std::move(out)) {}

    ~MemoryChannel() override { MemoryChannel::close(); }

    Task<Frame> receive() override {
        const auto in = in_;
        while (in->frames.empty() && !in->ended)
            co_await in->changed.wait();
        if (in->frames.empty()) throw_end();
        Frame frame = std::move(in->frames.front());
        in->frames.pop_front();
        co_return frame;
    }

    Task<void> send(Frame frame) override {
        if (out_->ended) throw boost::system::system_error(asio::error::broken_pipe);
        out_->frames.push_back(std::move(frame));
        out_->changed.notify_all();
        co_return;
    }

    void close() override {
        for (const auto& queue : {in_, out_}) {
            queue->ended = true;
            queue->changed.notify_all();
        }
    }

  private:
    std::shared_ptr<FrameQueue> in_;
    std::shared_ptr<FrameQueue> out_;
};

}  // namespace

std::unique_ptr<Channel> socket_channel(Loop& loop, std::unique_ptr<FdStream> stream) {
    return std::make_unique<SocketChannel>(loop, std::move(stream));
}

std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> memory_channels(Loop& loop) {
    auto there = std::make_shared<FrameQueue>(loop);
    auto back = std::make_shared<FrameQueue>(loop);
    return {std::make_unique<MemoryChannel>(back, there),
            std::make_unique<MemoryChannel>(there, back)};
}

Task<void> Handler::on_event(std::string, Json) {
    co_return;
}

// Everything that a coroutine of the peer touches; they hold it, so that the Peer may go first.
struct Peer::State : std::enable_shared_from_this<State> {
    State(Loop& owner, std::unique_ptr<Channel> carrier, Handler* served)
        : loop(owner), channel(std::move(carrier)), handler(served), outgoing(owner) {}

    struct Call {
        explicit Call(Loop& loop) : answered(loop) {}

        Signal answered;
        bool done = false;
        Reply reply;
        std::exception_ptr failure;
        Progress progress;
        std::string verb;
    };

    Loop& loop;
    std::unique_ptr<Channel> channel;
    Handler* handler;
    bool closed = false;
    std::uint64_t last_id = 0;
    std::map<std::uint64_t, std::shared_ptr<Call>> calls;
    std::map<std::uint64_t, std::shared_ptr<Job>> serving;
    std::deque<Frame> queue;
    Signal outgoing;

    void enqueue(Json body, std::vector<UniqueFd> fds = {}) {
        if (closed) return;
        queue.push_back({std::move(body), std::move(fds)});
        outgoing.notify_all();
    }

    void finish() {
        if (closed) return;
        closed = true;
        channel->close();
        outgoing.notify_all();
        for (const auto& [id, job] : std::exchange(serving, {}))
            job->cancel();
        for (const auto& [id, call] : std::exchange(calls, {})) {
            call->failure = std::make_exception_ptr(
                ApiError("INTERNAL_ERROR", {std::string(connection_lost), call->verb}));
            call->done = true;
            call->answered.notify_all();
        }
    }

    void answered(Frame frame) {
        const auto found = calls.find(number_of(frame.body.at("id")));
        if (found == calls.end()) return;
        const auto call = found->second;
        calls.erase(found);
        if (const auto error = frame.body.find("error");
            error != frame.body.end() && error->is_array()) {
            std::vector<std::string> words;
            for (const Json& word : *error)
                words.push_back(word.is_string() ? word.get<std::string>() : word.dump());
            if (words.empty()) words.emplace_back("INTERNAL_ERROR");
            const std::string code = words.front();
            words.erase(words.begin());
            call->failure = code == "cancelled"
                                ? std::make_exception_ptr(
                                      boost::system::system_error(asio::error::operation_aborted))
                                : std::make_exception_ptr(ApiError(code, std::move(words)));
        } else {
            call->reply.fds = std::move(frame.fds);
            if (const auto result = frame.body.find("result"); result != frame.body.end())
                call->reply.result = std::move(*result);
        }
        call->done = true;
        call->answered.notify_all();
    }

    /// Throws system_error for a frame that is none of the protocol's.
    Task<void> dispatch(Frame frame) {
        Json& body = frame.body;
        if (body.contains("verb")) {
            serve(std::move(frame));
        } else if (body.contains("id")) {
            answered(std::move(frame));
        } else if (body.contains("progress")) {
            progressed(body);
        } else if (body.contains("cancel")) {
            const auto found = serving.find(number_of(body.at("cancel")));
            if (found != serving.end()) found->second->cancel();
        } else if (body.contains("event") && handler != nullptr) {
            Json args = Json::object();
            if (const auto found = body.find("args"); found != body.end()) args = std::move(*found);
            co_await tell(text_of(body, "event"), std::move(args));
        }
    }

    void progressed(const Json& body) {
        const auto found = calls.find(number_of(body.at("progress")));
        const auto value = body.find("value");
        if (found == calls.end() || !found->second->progress) return;
        if (value != body.end() && value->is_number())
            found->second->progress(value->get<double>());
    }

    /// An event that the handler cannot read is dropped: nobody waits for it.
    Task<void> tell(std::string name, Json args) {
        try {
            co_await handler->on_event(name, std::move(args));
        } catch (const std::exception& error) {
            if (is_cancellation(std::current_exception())) throw;
            log::warn("rpc_event_refused", {{"event", name}, {"error", error.what()}});
        }
    }

    void serve(Frame frame);
};

namespace {

Task<void> write_loop(std::shared_ptr<Peer::State> state);

Json error_words(const std::exception_ptr& failure) {
    if (is_cancellation(failure)) return Json::array({"cancelled"});
    const ApiError error = as_api_error(failure);
    Json words = Json::array({error.code()});
    for (const std::string& param : error.params())
        words.push_back(param);
    return words;
}

Task<Reply> refuse(std::string verb) {
    throw ApiError("INTERNAL_ERROR", {"no handler for " + verb});
    co_return Reply{};
}

Task<void> serve_one(std::shared_ptr<Peer::State> state, std::uint64_t id, Request request) {
    std::exception_ptr failure;
    Reply reply;
    const std::string verb = request.verb;
    try {
        reply = co_await (state->handler != nullptr ? state->handler->handle(std::move(request))
                                                    : refuse(verb));
    } catch (...) {
        failure = std::current_exception();
    }
    state->serving.erase(id);
    if (failure) {
        state->enqueue({{"id", id}, {"error", error_words(failure)}});
    } else {
        state->enqueue({{"id", id}, {"result", std::move(reply.result)}}, std::move(reply.fds));
    }
}

Task<void> write_loop(std::shared_ptr<Peer::State> state) {
    std::size_t in_a_row = 0;
    while (!state->closed) {
        if (state->queue.empty()) {
            co_await state->outgoing.wait();
            in_a_row = 0;
            continue;
        }
        // What the other side takes at once never suspends.
        if (++in_a_row % frames_in_a_turn == 0) {
            co_await sleep_for(state->loop, Duration{});
            continue;
        }
        Frame frame = std::move(state->queue.front());
        state->queue.pop_front();
        co_await state->channel->send(std::move(frame));
    }
}

Task<void> write_until_end(std::shared_ptr<Peer::State> state) {
    std::exception_ptr failure;
    try {
        co_await write_loop(state);
    } catch (const boost::system::system_error&) {
        failure = std::current_exception();
    }
    state->finish();
}

Task<void> await_answer(std::shared_ptr<Signal> keep, std::function<bool()> done) {
    while (!done())
        co_await keep->wait();
}

}  // namespace

void Peer::State::serve(Frame frame) {
    const auto number = frame.body.find("id");
    const std::uint64_t id = number == frame.body.end() ? 0 : number_of(*number);
    Request request{text_of(frame.body, "verb"), frame.body.value("args", Json::object()),
                    std::move(frame.fds), [weak = weak_from_this(), id](double value) {
                        if (auto state = weak.lock())
                            state->enqueue({{"progress", id}, {"value", value}});
                    }};
    serving[id] =
        spawn(loop, "serve " + request.verb, serve_one(shared_from_this(), id, std::move(request)));
}

Peer::Peer(Loop& loop, std::unique_ptr<Channel> channel, Handler* handler)
    : state_(std::make_shared<State>(loop, std::move(channel), handler)) {}

Peer::~Peer() {
    state_->finish();
    state_->handler = nullptr;
}

Task<void> Peer::run() {
    const auto state = state_;
    const auto writer = spawn(state->loop, "rpc writer", write_until_end(state));
    std::exception_ptr ended;
    try {
        while (!state->closed) {
            Frame frame = co_await state->channel->receive();
            co_await state->dispatch(std::move(frame));
        }
    } catch (const boost::system::system_error&) {
        ended = std::current_exception();
    }
    state->finish();
}

Task<Reply> Peer::call(std::string verb, Json args, std::vector<UniqueFd> fds, Progress progress) {
    const auto state = state_;
    if (state->closed) throw ApiError("INTERNAL_ERROR", {std::string(connection_lost), verb});
    const std::uint64_t id = ++state->last_id;
    auto call = std::make_shared<State::Call>(state->loop);
    call->progress = std::move(progress);
    call->verb = verb;
    state->calls.emplace(id, call);
    state->enqueue({{"id", id}, {"verb", std::move(verb)}, {"args", std::move(args)}},
                   std::move(fds));
    const std::shared_ptr<Signal> answered(call, &call->answered);
    std::exception_ptr cancelled;
    try {
        co_await await_answer(answered, [call] { return call->done; });
    } catch (const boost::system::system_error&) {
        cancelled = std::current_exception();
    }
    if (cancelled) {
        co_await asio::this_coro::reset_cancellation_state();
        state->enqueue({{"cancel", id}});
        co_await shielded(await_answer(answered, [call] { return call->done; }));
    }
    if (call->failure) std::rethrow_exception(call->failure);
    co_return std::move(call->reply);
}

void Peer::notify(std::string event, Json args) {
    state_->enqueue({{"event", std::move(event)}, {"args", std::move(args)}});
}

void Peer::close() {
    state_->finish();
}

bool Peer::closed() const {
    return state_->closed;
}

}  // namespace basalt::rpc
