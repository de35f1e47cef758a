#include "base/qmp.hpp"

#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "base/json.hpp"
#include "base/log.hpp"

namespace basalt::qmp {

namespace {

constexpr std::size_t line_bytes_max = std::size_t{32} * 1024 * 1024;
// An agent answers guest-sync-delimited with this byte first: what came before it is stale.
constexpr char agent_sentinel = '\xff';

struct Call {
    explicit Call(Loop& loop) : answered(loop) {}

    std::optional<Json> answer;
    bool lost = false;
    Signal answered;
};

struct Outgoing {
    std::string line;
    std::vector<UniqueFd> fds;
};

}  // namespace

struct Client::State : std::enable_shared_from_this<State> {
    State(Loop& owner, std::unique_ptr<Stream> connection)
        : loop(owner), stream(std::move(connection)), greeted(owner), queued(owner) {}

    Loop& loop;
    std::unique_ptr<Stream> stream;
    OnEvent event;
    std::function<void()> ended;
    std::optional<Json> greeting;
    Signal greeted;
    std::uint64_t last_id = 0;
    std::map<std::uint64_t, std::shared_ptr<Call>> calls;
    std::deque<Outgoing> queue;
    Signal queued;
    bool started = false;
    bool closed = false;

    void finish() {
        if (closed) return;
        closed = true;
        stream->close();
        greeted.notify_all();
        queued.notify_all();
        for (const auto& [id, call] : calls) {
            call->lost = true;
            call->answered.notify_all();
        }
        calls.clear();
        event = nullptr;
        if (const auto handler = std::exchange(ended, nullptr)) handler();
    }

    void take(const std::string& line) {
        Json message = parse_foreign_json(line);
        if (!message.is_object()) {
            log::warn("qmp_garbage", {{"line", line.substr(0, 200)}});
            return;
        }
        if (message.contains("QMP")) {
            greeting = std::move(message["QMP"]);
            greeted.notify_all();
        } else if (message.contains("event")) {
            tell(message);
        } else {
            answer(std::move(message));
        }
    }

    /// An event that its handler cannot read is dropped: a guest may have taken over its QEMU.
    void tell(const Json& message) {
        const auto handler = event;  // it may set another one
        if (!handler) return;
        const std::string name = text_member(message, "event");
        try {
            handler(name, message.value("data", Json::object()));
        } catch (const std::exception& error) {
            log::warn("qmp_event_refused", {{"event", name}, {"error", error.what()}});
        }
    }

    void answer(Json message) {
        const auto id = message.find("id");
        if (id == message.end() || !id->is_number_unsigned()) return;
        const auto found = calls.find(id->get<std::uint64_t>());
        if (found == calls.end()) return;  // its caller gave up
        found->second->answer = std::move(message);
        found->second->answered.notify_all();
        calls.erase(found);
    }
};

namespace {

using Shared = std::shared_ptr<Client::State>;

Task<void> read_lines(Shared state) {
    std::string pending;
    std::array<char, 65536> buffer{};
    while (!state->closed) {
        const std::size_t got = co_await state->stream->read_some(buffer);
        if (got == 0) co_return;
        std::size_t searched = pending.size();
        pending.append(buffer.data(), got);
        for (auto end = pending.find('\n', searched); end != std::string::npos;
             end = pending.find('\n')) {
            std::string line = pending.substr(0, end);
            pending.erase(0, end + 1);
            if (const auto stale = line.rfind(agent_sentinel); stale != std::string::npos)
                line.erase(0, stale + 1);
            if (line.find_first_not_of(" \r\t") != std::string::npos) state->take(line);
        }
        if (pending.size() > line_bytes_max)
            throw boost::system::system_error(asio::error::message_size);
    }
}

Task<void> write_lines(Shared state) {
    while (!state->closed) {
        if (state->queue.empty()) {
            co_await state->queued.wait();
            continue;
        }
        const Outgoing next = std::move(state->queue.front());
        state->queue.pop_front();
        if (next.fds.empty()) {
            co_await state->stream->write(next.line);
            continue;
        }
        auto* unix_stream = dynamic_cast<FdStream*>(state->stream.get());
        if (unix_stream == nullptr)
            throw boost::system::system_error(asio::error::operation_not_supported);
        co_await unix_stream->write_with_fds(next.line, next.fds);
    }
}

Task<void> until_end(Shared state, Task<void> (*body)(Shared)) {
    std::exception_ptr failure;
    try {
        co_await body(state);
    } catch (const boost::system::system_error&) {
        failure = std::current_exception();
    }
    state->finish();
}

void start(const Shared& state) {
    if (state->started) return;
    state->started = true;
    spawn(state->loop, "qmp reader", until_end(state, read_lines));
    spawn(state->loop, "qmp writer", until_end(state, write_lines));
}

ApiError lost(const std::string& what) {
    return ApiError("INTERNAL_ERROR", {"QMP: connection lost during " + what});
}

Task<Json> execute_on(Shared state, std::string command, Json message, Duration limit,
                      std::vector<UniqueFd> fds, std::string prefix) {
    start(state);
    if (state->closed) throw lost(command);
    const std::uint64_t id = ++state->last_id;
    message["id"] = id;
    const auto call = std::make_shared<Call>(state->loop);
    state->calls.emplace(id, call);
    state->queue.push_back(
        {prefix + message.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n",
         std::move(fds)});
    state->queued.notify_all();
    const Time deadline = state->loop.now() + limit;
    std::exception_ptr cancelled;
    try {
        while (!call->answer && !call->lost && state->loop.now() < deadline)
            co_await call->answered.wait_for(deadline - state->loop.now());
    } catch (const boost::system::system_error&) {
        cancelled = std::current_exception();
    }
    state->calls.erase(id);
    if (cancelled) std::rethrow_exception(cancelled);
    if (call->lost) throw lost(command);
    if (!call->answer) throw ApiError("INTERNAL_ERROR", {"QMP: " + command + " took too long"});
    const Json& answer = *call->answer;
    if (const auto error = answer.find("error"); error != answer.end())
        throw Error(command, text_member(*error, "class"), text_member(*error, "desc"));
    co_return answer.value("return", Json());
}

}  // namespace

Error::Error(std::string command, std::string kind, std::string description)
    : command_(std::move(command)),
      kind_(std::move(kind)),
      description_(std::move(description)),
      text_(command_ + ": " + description_) {}

Client::Client(Loop& loop, std::unique_ptr<Stream> stream)
    : state_(std::make_shared<State>(loop, std::move(stream))) {}

Client::~Client() {
    state_->ended = nullptr;
    state_->finish();
}

void Client::on_event(OnEvent handler) {
    state_->event = std::move(handler);
}

void Client::on_closed(std::function<void()> handler) {
    state_->ended = std::move(handler);
}

Task<Json> Client::connect(Duration limit) {
    const auto state = state_;
    start(state);
    const Time deadline = state->loop.now() + limit;
    while (!state->greeting && !state->closed && state->loop.now() < deadline)
        co_await state->greeted.wait_for(deadline - state->loop.now());
    if (state->closed) throw lost("the greeting");
    if (!state->greeting) throw ApiError("INTERNAL_ERROR", {"QMP: no greeting in time"});
    co_await execute_on(state, "qmp_capabilities", {{"execute", "qmp_capabilities"}}, limit, {},
                        "");
    co_return *state->greeting;
}

Task<void> Client::connect_agent(Duration limit) {
    const auto state = state_;
    const std::string command = "guest-sync-delimited";
    // The byte in front makes the agent drop a half line that an earlier client left.
    co_await execute_on(state, command,
                        {{"execute", command}, {"arguments", {{"id", state->last_id + 1}}}}, limit,
                        {}, std::string(1, agent_sentinel));
}

Task<Json> Client::execute(std::string command, Json arguments, Duration limit,
                           std::vector<UniqueFd> fds) {
    Json message = {{"execute", command}};
    if (!arguments.empty()) message["arguments"] = std::move(arguments);
    return execute_on(state_, std::move(command), std::move(message), limit, std::move(fds), "");
}

void Client::close() {
    state_->finish();
}

bool Client::closed() const {
    return state_->closed;
}

}  // namespace basalt::qmp
