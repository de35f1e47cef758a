#include "xapi/member/agent_link.hpp"

#include <algorithm>
#include <boost/system/system_error.hpp>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/rpc.hpp"
#include "base/stream_channel.hpp"
#include "idl/errors.hpp"
#include "xapi/pool/splice.hpp"
#include "xapi/pool/wire.hpp"

namespace basalt::member {

namespace {

constexpr Duration retry_first = 100ms;
constexpr Duration retry_most = 2s;
constexpr Duration connect_limit = 10s;

Task<std::unique_ptr<Stream>> dialled(const MemberParts& parts, std::string_view path,
                                      server::Parameters headers) {
    auto stream = co_await parts.dial();
    co_return co_await pool::upgraded(std::move(stream), std::string(path), std::move(headers));
}

Task<void> carry(Loop& loop, std::unique_ptr<Stream> hostd, std::unique_ptr<Stream> coordinator) {
    co_await pool::splice(loop, *coordinator, *hostd);
}

}  // namespace

struct AgentLink::Ends {
    std::unique_ptr<rpc::Channel> hostd;
    std::unique_ptr<rpc::Channel> coordinator;
    bool closed = false;

    void close() {
        closed = true;
        hostd->close();
        coordinator->close();
    }
};

Task<void> AgentLink::keep_up() {
    Duration wait = retry_first;
    for (;;) {
        const Time began = loop_.now();
        std::exception_ptr failure;
        try {
            co_await connect_and_pass();
        } catch (const std::exception&) {
            failure = std::current_exception();
        }
        if (failure && is_cancellation(failure)) std::rethrow_exception(failure);
        if (failure) log::info("agent_link_failed", {{"error", as_api_error(failure).what()}});
        if (loop_.now() - began > retry_most) wait = retry_first;
        co_await sleep_for(loop_, wait);
        wait = std::min(wait * 2, retry_most);
    }
}

Task<void> AgentLink::connect_and_pass() {
    const auto ends = std::make_shared<Ends>();
    ends->hostd = co_await parts_.connect_hostd();
    ends->coordinator = rpc::stream_channel(
        loop_, co_await within(loop_, connect_limit, dialled(parts_, pool::agent_path, {}),
                               err::internal_error("the coordinator does not answer")));
    log::info("agent_link_up", {{"coordinator", parts_.coordinator}});
    std::vector<Task<void>> ways;
    ways.push_back(pass(ends, *ends->hostd, *ends->coordinator));
    ways.push_back(pass(ends, *ends->coordinator, *ends->hostd));
    co_await all(loop_, std::move(ways));
}

Task<void> AgentLink::pass(std::shared_ptr<Ends> ends, rpc::Channel& from, rpc::Channel& to) {
    std::exception_ptr cancelled;
    std::string why;
    try {
        for (;;) {
            rpc::Frame frame = co_await from.receive();
            if (!frame.fds.empty()) co_await open_streams(frame);
            co_await to.send(std::move(frame));
        }
    } catch (const boost::system::system_error& error) {
        // What the other way closed ends in the same error as a wait that is cancelled.
        if (!ends->closed && is_cancellation(std::current_exception()))
            cancelled = std::current_exception();
        why = error.what();
    }
    ends->close();
    if (cancelled) std::rethrow_exception(cancelled);
    log::info("agent_link_down", {{"why", why}});
}

Task<void> AgentLink::open_streams(rpc::Frame& frame) {
    Json tokens = Json::array();
    for (UniqueFd& fd : std::exchange(frame.fds, {})) {
        std::string token = co_await open_stream(std::move(fd));
        if (!token.empty()) tokens.push_back(std::move(token));
    }
    frame.body[pool::streams_key] = std::move(tokens);
}

/// Empty when it could not be opened: the verb then fails for want of it, the link goes on.
Task<std::string> AgentLink::open_stream(UniqueFd fd) {
    if (!parts_.adopt) co_return "";
    auto hostd = parts_.adopt(std::move(fd));
    std::string token = loop_.new_uuid().text();
    std::unique_ptr<Stream> coordinator;
    std::exception_ptr failure;
    try {
        coordinator = co_await within(
            loop_, connect_limit,
            dialled(parts_, pool::stream_path, {{std::string(pool::token_header), token}}),
            err::internal_error("the coordinator does not answer"));
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure && is_cancellation(failure)) std::rethrow_exception(failure);
    if (failure) {
        log::warn("member_stream_failed", {{"error", as_api_error(failure).what()}});
        co_return "";
    }
    spawn(loop_, "member stream", carry(loop_, std::move(hostd), std::move(coordinator)));
    co_return token;
}

}  // namespace basalt::member
