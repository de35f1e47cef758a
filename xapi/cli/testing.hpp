#pragma once
// A client and an API for the tests of this room.
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/sim_loop.hpp"
#include "base/stream.hpp"
#include "base/wait.hpp"
#include "xapi/cli/protocol.hpp"
#include "xapi/cli/server.hpp"

namespace basalt::cli::testing {

/// Answers by method; what nobody set answers MESSAGE_METHOD_UNKNOWN. Writes down what was called.
class FakeApi : public Api {
  public:
    using Answerer = std::function<wire::Value(const wire::Array& params)>;

    std::map<std::string, Answerer> answers;
    std::vector<std::string> calls;

    Task<wire::Value> call(std::string method, wire::Array params) override {
        std::string line = method + "(";
        for (std::size_t i = 0; i < params.size(); ++i)
            line += (i > 0 ? ", " : "") + params[i].debug_text();
        calls.push_back(line + ")");
        const auto place = answers.find(method);
        if (place == answers.end()) throw ApiError("MESSAGE_METHOD_UNKNOWN", {method});
        co_return place->second(params);
    }
};

/// What the user saw.
struct Seen {
    std::string out;
    std::string err;
    std::vector<std::string> transfers;
    std::int32_t status = -1;
};

inline Task<std::string> read_count(Stream& stream, std::size_t count) {
    std::string out(count, '\0');
    std::size_t done = 0;
    while (done < count) {
        const std::size_t more = co_await stream.read_some(std::span(out).subspan(done));
        if (more == 0) throw ProtocolError("ended");
        done += more;
    }
    co_return out;
}

inline Task<void> say(Stream& stream, Answer answer) {
    const std::string bytes = frame(answer);
    co_await stream.write(bytes);
}

/// Plays the client: prompts are answered with `typed`, transfers with success.
inline Task<void> play_client(std::unique_ptr<Stream> stream, std::string typed, Seen& seen) {
    using Kind = Instruction::Kind;
    check_handshake(co_await read_count(*stream, handshake_bytes));
    const std::string mine = handshake();
    co_await stream->write(mine);
    for (;;) {
        const std::string length = co_await read_count(*stream, 4);
        const std::string content = co_await read_count(*stream, frame_length(length));
        const Instruction told = parse_instruction(content);
        if (told.kind == Kind::print) seen.out += told.text + "\n";
        if (told.kind == Kind::print_stderr) seen.err += told.text;
        if (told.kind == Kind::error) seen.err += "Error code: " + told.text + "\n";
        if (told.kind == Kind::exit) {
            seen.status = told.status;
            co_return;
        }
        if (told.kind == Kind::prompt) {
            co_await say(*stream, {Answer::Kind::chunk, static_cast<std::int32_t>(typed.size())});
            co_await stream->write(typed);
            co_await say(*stream, {Answer::Kind::end});
        }
        if (told.kind == Kind::http_get || told.kind == Kind::http_put ||
            told.kind == Kind::http_connect) {
            seen.transfers.push_back(told.text + " " + told.url);
            co_await say(*stream, {Answer::Kind::wait});
            co_await say(*stream, {Answer::Kind::ok});
        }
    }
}

inline Task<void> play_server(std::unique_ptr<Stream> stream, Api& api, std::string body) {
    co_await serve_command(*stream, api, std::move(body));
}

/// Runs one command to its end.
inline Seen run_xe(Api& api, std::string body, std::string typed = "yes") {
    SimLoop loop(7);
    Seen seen;
    auto [near, far] = memory_streams(loop);
    auto server = spawn(loop, "server", play_server(std::move(far), api, std::move(body)));
    auto client = spawn(loop, "client", play_client(std::move(near), std::move(typed), seen));
    while (loop.step()) {
    }
    if (server->failure()) std::rethrow_exception(server->failure());
    if (client->failure()) std::rethrow_exception(client->failure());
    return seen;
}

}  // namespace basalt::cli::testing
