#include "network-manager/ovsdb/client.hpp"

#include <array>
#include <boost/system/system_error.hpp>

#include "base/json.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"

namespace basalt::nm::ovsdb {

namespace {

constexpr std::size_t text_bytes_max = std::size_t{64} * 1024 * 1024;

[[noreturn]] void fail(const std::string& why) {
    throw err::internal_error("ovsdb: " + why);
}

// Shares ownership: the session may let go of the client while it still runs.
Task<void> run_client(std::shared_ptr<Client> client) {
    co_await client->run();
}

// However serving ends: nobody gets the client any more, and its reader ends.
struct Farewell {
    std::shared_ptr<Client>& current;
    Client& client;
    Job& reader;

    ~Farewell() {
        current.reset();
        client.close();
        reader.cancel();
    }
};

}  // namespace

std::string Splitter::next() {
    for (; scanned_ < pending_.size(); ++scanned_) {
        const char c = pending_[scanned_];
        if (in_string_) {
            if (escaped_)
                escaped_ = false;
            else if (c == '\\')
                escaped_ = true;
            else if (c == '"')
                in_string_ = false;
            continue;
        }
        if (c == '"') in_string_ = true;
        if (c == '{' || c == '[') ++depth_;
        if ((c == '}' || c == ']') && depth_ > 0 && --depth_ == 0) {
            std::string text = pending_.substr(0, scanned_ + 1);
            pending_.erase(0, scanned_ + 1);
            scanned_ = 0;
            return text;
        }
    }
    if (pending_.size() > text_bytes_max) fail("a message of more than 64 MiB");
    return {};
}

struct Client::Call {
    explicit Call(Loop& loop) : answered(loop) {}

    Signal answered;
    bool done = false;
    Json result;
    Json error;
};

Client::Client(Loop& loop, std::unique_ptr<Stream> stream, OnUpdate on_update)
    : loop_(loop), stream_(std::move(stream)), on_update_(std::move(on_update)), writers_(loop) {}

Task<void> Client::run() {
    std::exception_ptr failure;
    try {
        co_await read();
    } catch (const boost::system::system_error&) {
        failure = std::current_exception();  // the end of the stream, in one of its forms
    } catch (const std::exception& error) {
        log::warn("ovsdb.garbage", {{"error", error.what()}});
    }
    close();
    if (failure && is_cancellation(failure)) std::rethrow_exception(failure);
}

Task<void> Client::read() {
    Splitter splitter;
    std::array<char, 16384> buffer{};
    for (;;) {
        const std::size_t got = co_await stream_->read_some(buffer);
        if (got == 0) co_return;
        splitter.feed({buffer.data(), got});
        for (std::string text = splitter.next(); !text.empty(); text = splitter.next()) {
            Json message = parse_foreign_json(text);
            if (!message.is_object()) fail("not a message: " + text.substr(0, 100));
            co_await receive(std::move(message));
        }
    }
}

Task<void> Client::receive(Json message) {
    const std::string method = message.value("method", Json()).is_string()
                                   ? message.at("method").get<std::string>()
                                   : std::string();
    if (method == "echo") {
        Json answer = {{"id", message.value("id", Json())},
                       {"result", message.value("params", Json::array())},
                       {"error", nullptr}};
        co_await send(std::move(answer));
    } else if (method == "update") {
        const Json params = message.value("params", Json::array());
        const bool good = params.is_array() && params.size() == 2 && params.at(1).is_object();
        if (good && on_update_) on_update_(params.at(1));
    } else if (const Json id = message.value("id", Json()); id.is_number_integer()) {
        const auto found = calls_.find(id.get<std::int64_t>());
        if (found == calls_.end()) co_return;
        const auto call = found->second;
        calls_.erase(found);
        call->result = message.value("result", Json());
        call->error = message.value("error", Json());
        call->done = true;
        call->answered.notify_all();
    }
}

Task<void> Client::send(Json message) {
    const std::string text = message.dump(-1, ' ', false, Json::error_handler_t::replace);
    const ObjectQueue::Lease lease = co_await writers_.acquire("write");
    co_await stream_->write(text);
}

Task<Json> Client::call(std::string method, Json params) {
    if (closed_) fail("connection lost");
    const std::int64_t id = ++last_id_;
    const auto call = std::make_shared<Call>(loop_);
    calls_.emplace(id, call);
    std::exception_ptr failure;
    try {
        Json message = {{"id", id}, {"method", method}, {"params", std::move(params)}};
        co_await send(std::move(message));
        while (!call->done)
            co_await call->answered.wait();
    } catch (const boost::system::system_error&) {
        failure = std::current_exception();
    }
    calls_.erase(id);
    if (failure && is_cancellation(failure)) std::rethrow_exception(failure);
    if (failure) fail("connection lost");
    if (!call->error.is_null())
        fail(method + ": " +
             (call->error.is_string() ? call->error.get<std::string>() : call->error.dump()));
    co_return std::move(call->result);
}

void Client::close() {
    if (std::exchange(closed_, true)) return;
    stream_->close();
    for (const auto& [id, call] : std::exchange(calls_, {})) {
        call->error = "connection lost";
        call->done = true;
        call->answered.notify_all();
    }
}

Session::Session(Loop& loop, Connect connect, Json monitor, Client::OnUpdate on_change)
    : loop_(loop),
      connect_(std::move(connect)),
      monitor_(std::move(monitor)),
      on_change_(std::move(on_change)),
      reconnect_(loop.now()),
      connected_(loop) {}

Session::~Session() {
    if (client_ != nullptr) client_->close();
}

Task<void> Session::run() {
    for (;;) {
        const Time now = loop_.now();
        if (!reconnect_.due(now)) co_await sleep_for(loop_, reconnect_.next_try() - now);
        std::exception_ptr failure;
        try {
            co_await serve(co_await connect_());
        } catch (const boost::system::system_error&) {
            failure = std::current_exception();
        } catch (const ApiError& error) {
            log::warn("ovsdb.lost", {{"error", error.what()}});
        }
        if (failure && is_cancellation(failure)) std::rethrow_exception(failure);
        reconnect_.failed(loop_.now());
    }
}

Task<void> Session::serve(std::unique_ptr<Stream> stream) {
    const auto client = std::make_shared<Client>(loop_, std::move(stream), on_change_);
    const auto reader = spawn(loop_, "ovsdb reader", run_client(client));
    const Farewell farewell{client_, *client, *reader};
    Json params = Json::array({"Open_vSwitch", nullptr, monitor_});
    const Json first = co_await client->call("monitor", std::move(params));
    client_ = client;
    reconnect_.connected();
    connected_.notify_all();
    log::info("ovsdb.connected");
    if (on_change_) on_change_(first);
    co_await reader->wait();
    log::warn("ovsdb.disconnected");
}

Task<Json> Session::transact(Json operations, Duration limit) {
    const Time deadline = loop_.now() + limit;
    while (client_ == nullptr) {
        const Duration left = deadline - loop_.now();
        if (left <= Duration::zero() || !co_await connected_.wait_for(left))
            fail("Open vSwitch's database does not answer");
    }
    const auto client = client_;
    Json params = Json::array({"Open_vSwitch"});
    for (Json& operation : operations)
        params.push_back(std::move(operation));
    ApiError late = err::internal_error("ovsdb: no answer in time");
    Json results =
        co_await within(loop_, limit, client->call("transact", std::move(params)), std::move(late));
    throw_on_failure(results);
    co_return results;
}

void throw_on_failure(const Json& results) {
    for (const Json& result : results)
        if (result.is_object() && result.contains("error") && !result.at("error").is_null())
            fail(result.at("error").dump() + " " + result.value("details", std::string()));
}

}  // namespace basalt::nm::ovsdb
