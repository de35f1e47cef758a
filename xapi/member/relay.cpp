#include "xapi/member/relay.hpp"

#include <algorithm>
#include <limits>

#include "base/log.hpp"
#include "idl/errors.hpp"
#include "xapi/pool/splice.hpp"
#include "xapi/pool/wire.hpp"

namespace basalt::member {

namespace {

constexpr Duration connect_limit = 5s;
constexpr std::size_t piece_bytes = std::size_t{64} * 1024;

Task<std::unique_ptr<Stream>> dialled(const MemberParts& parts, server::Parameters headers) {
    auto stream = co_await parts.dial();
    co_return co_await pool::upgraded(std::move(stream), std::string(pool::relay_path),
                                      std::move(headers));
}

Task<Json> asked(const MemberParts& parts, std::string path, Json question) {
    pool::AnswerReader connection(co_await parts.dial());
    co_return co_await pool::ask(connection, std::move(path), std::move(question));
}

server::Parameters described(const server::Peer& peer) {
    server::Parameters headers;
    if (peer.unix_socket) headers.emplace_back(pool::door_header, "unix");
    if (peer.trusted) headers.emplace_back(pool::trusted_header, "yes");
    if (!peer.address.empty()) headers.emplace_back(pool::address_header, peer.address);
    return headers;
}

/// The body of an answer, until its length or until the stream ends. Returns whether it had a
/// length and came whole.
Task<bool> pass_body(pool::AnswerReader& from, server::Exchange& to,
                     std::optional<std::uint64_t> length) {
    std::string buffer(piece_bytes, '\0');
    std::uint64_t left = length.value_or(std::numeric_limits<std::uint64_t>::max());
    while (left > 0) {
        const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(left, piece_bytes));
        const std::size_t got = co_await from.read_some(std::span(buffer).first(want));
        if (got == 0) break;
        co_await to.write(std::string_view(buffer).substr(0, got));
        left -= got;
    }
    // Shorter than announced: nothing but the end of the connection tells the client.
    if (length && left > 0) to.take_over().close();
    co_return length&& left == 0;
}

}  // namespace

/// A connection to the coordinator that `break_off` ends.
class Relay::UnderWay {
  public:
    UnderWay(Relay& relay, Stream& stream) : relay_(relay), stream_(stream) {
        relay_.under_way_.insert(&stream_);
    }

    UnderWay(const UnderWay&) = delete;
    UnderWay& operator=(const UnderWay&) = delete;

    ~UnderWay() { relay_.under_way_.erase(&stream_); }

  private:
    Relay& relay_;
    Stream& stream_;
};

void Relay::break_off() {
    const std::set<Stream*> open = under_way_;
    for (Stream* stream : open)
        stream->close();
    idle_.clear();
}

Task<std::unique_ptr<Stream>> Relay::open(server::Peer peer) {
    std::string why;
    try {
        co_return co_await within(loop_, connect_limit, dialled(parts_, described(peer)),
                                  err::host_still_booting());
    } catch (const std::exception& error) {
        if (is_cancellation(std::current_exception())) throw;
        why = error.what();
    }
    log::info("relay_failed", {{"error", why}});
    throw err::host_still_booting();
}

Task<void> Relay::call(server::Exchange& exchange, std::string body) {
    const server::Peer peer = exchange.request().peer;
    std::unique_ptr<pool::AnswerReader> answers = co_await idle_.take(peer);
    if (!answers) answers = std::make_unique<pool::AnswerReader>(co_await open(peer));
    bool whole = false;
    {
        const UnderWay under_way(*this, answers->stream());
        const std::string request = exchange.head() + body;
        co_await answers->stream().write(request);
        pool::AnswerHead head = co_await answers->head();
        const std::optional<std::uint64_t> length = head.content_length;
        co_await exchange.begin_text(std::move(head.text), !length);
        whole = co_await pass_body(*answers, exchange, length);
    }
    if (whole && exchange.request().keep_alive) idle_.give(peer, std::move(answers));
}

Task<void> Relay::connection(server::Exchange& exchange, std::string body) {
    const auto coordinator = co_await open(exchange.request().peer);
    const UnderWay under_way(*this, *coordinator);
    const std::string request = exchange.head() + body;
    Stream& client = exchange.take_over();
    co_await coordinator->write(request);
    co_await pool::splice(loop_, client, *coordinator);
}

Task<Json> Relay::ask(std::string path, Json question) {
    try {
        co_return co_await within(loop_, connect_limit,
                                  asked(parts_, std::move(path), std::move(question)),
                                  err::host_still_booting());
    } catch (const ApiError&) {
        throw;
    } catch (const std::exception& error) {
        if (is_cancellation(std::current_exception())) throw;
        log::info("question_failed", {{"error", error.what()}});
    }
    throw err::host_still_booting();
}

}  // namespace basalt::member
