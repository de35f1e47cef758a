#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/async.hpp"

namespace basalt {

/// Everything that is bounded so that no caller can take what others need. One row each in
/// `limit_table`; docs/limits.md says the same to operators.
enum class Limit : std::uint8_t {
    connections,
    connections_of_peer,
    handshakes,
    handshakes_of_peer,
    handshake_time,
    handshake_rate_of_peer,
    handshakes_computing,
    head_bytes,
    head_time,
    idle_time,
    body_bytes,
    trusted_body_bytes,
    body_start_time,
    body_rate,
    stream_stall_time,
    drain_bytes,
    write_stall_time,
    linger_time,
    websocket_message_bytes,
    websocket_ping_time,
    bodies_decoding,
    nesting,
    answers_preparing,
    answers_large,
    answers_large_of_peer,
    answer_stall_time,
    answer_bytes,
    answer_bytes_of_peer,
    sessions,
    sessions_of_root,
    sessions_of_user,
    sessions_of_originator,
    sessions_of_files,
    session_idle_time,
    tasks_running,
    tasks_running_of_session,
    tasks_finished,
    count_,
};

struct LimitInfo {
    Limit limit;
    std::string_view name;
    std::string_view unit;  ///< times are milliseconds
    std::uint64_t value;
    std::string_view beyond;  ///< what happens to what goes beyond it
};

inline constexpr auto limit_table = std::to_array<LimitInfo>({
    {Limit::connections, "connections", "connections", 2000, "a new one is closed at once"},
    {Limit::connections_of_peer, "connections_of_peer", "connections", 500,
     "a new one is closed at once; root's on the unix socket are not counted"},
    {Limit::handshakes, "handshakes", "handshakes", 512, "a new one is closed at once"},
    {Limit::handshakes_of_peer, "handshakes_of_peer", "handshakes", 128,
     "a new one is closed at once"},
    {Limit::handshake_time, "handshake_time", "ms", 10'000, "the connection is closed"},
    {Limit::handshake_rate_of_peer, "handshake_rate_of_peer", "per_second", 1500,
     "further ones of that address wait for their turn"},
    {Limit::handshakes_computing, "handshakes_computing", "handshakes", 2,
     "further ones wait; addresses take turns"},
    {Limit::head_bytes, "head_bytes", "bytes", 16 * 1024, "500 and the connection is closed"},
    {Limit::head_time, "head_time", "ms", 30'000, "the connection is closed"},
    {Limit::idle_time, "idle_time", "ms", 600'000, "the connection is closed"},
    {Limit::body_bytes, "body_bytes", "bytes", 300 * 1024, "500 and the connection is closed"},
    {Limit::trusted_body_bytes, "trusted_body_bytes", "bytes", 16 * 1024 * 1024,
     "500 and the connection is closed"},
    {Limit::body_start_time, "body_start_time", "ms", 30'000,
     "a body that is behind body_rate by so much: the connection is closed"},
    {Limit::body_rate, "body_rate", "bytes_per_second", 4096,
     "slower bodies (after body_start_time): the connection is closed"},
    {Limit::stream_stall_time, "stream_stall_time", "ms", 900'000,
     "an upload without a byte for so long: the connection is closed"},
    {Limit::drain_bytes, "drain_bytes", "bytes", 64 * 1024,
     "more unread body than this: the connection is closed after the answer"},
    {Limit::write_stall_time, "write_stall_time", "ms", 60'000,
     "a peer that takes nothing of 64 KiB for so long: the connection is closed"},
    {Limit::linger_time, "linger_time", "ms", 2'000, "the connection is closed"},
    {Limit::websocket_message_bytes, "websocket_message_bytes", "bytes", 1024 * 1024,
     "close code 1009"},
    {Limit::websocket_ping_time, "websocket_ping_time", "ms", 30'000,
     "a silent client is pinged; silent as long again: the connection is closed"},
    {Limit::bodies_decoding, "bodies_decoding", "bodies", 2,
     "further large ones wait; addresses take turns"},
    {Limit::nesting, "nesting", "levels", 200, "500 and the connection is closed"},
    {Limit::answers_preparing, "answers_preparing", "answers", 2,
     "filters and event batches over many rows wait for a pool thread; addresses take turns"},
    {Limit::answers_large, "answers_large", "answers", 4,
     "further answers over 64 KiB wait; callers take turns"},
    {Limit::answers_large_of_peer, "answers_large_of_peer", "answers", 3,
     "further ones of that address wait"},
    {Limit::answer_stall_time, "answer_stall_time", "ms", 1'000,
     "a large answer that its peer does not take for so long makes room for others"},
    {Limit::answer_bytes, "answer_bytes", "bytes", 16 * 1024 * 1024,
     "answers wait before they are written"},
    {Limit::answer_bytes_of_peer, "answer_bytes_of_peer", "bytes", 4 * 1024 * 1024,
     "answers of that address wait before they are written"},
    {Limit::sessions, "sessions", "sessions", 5000, "the longest unused one ends"},
    {Limit::sessions_of_root, "sessions_of_root", "sessions", 400, "the longest unused one ends"},
    {Limit::sessions_of_user, "sessions_of_user", "sessions", 500, "the longest unused one ends"},
    {Limit::sessions_of_originator, "sessions_of_originator", "sessions", 500,
     "the longest unused one ends"},
    {Limit::sessions_of_files, "sessions_of_files", "sessions", 4, "the oldest of them ends"},
    {Limit::session_idle_time, "session_idle_time", "ms", 86'400'000, "the session ends"},
    {Limit::tasks_running, "tasks_running", "tasks", 2000, "TOO_MANY_PENDING_TASKS"},
    {Limit::tasks_running_of_session, "tasks_running_of_session", "tasks", 1000,
     "TOO_MANY_PENDING_TASKS"},
    {Limit::tasks_finished, "tasks_finished", "tasks", 200, "the oldest finished one goes"},
});

namespace detail {

consteval bool in_order() {
    for (std::size_t i = 0; i < limit_table.size(); ++i)
        if (limit_table[i].limit != static_cast<Limit>(i)) return false;
    return limit_table.size() == static_cast<std::size_t>(Limit::count_);
}

}  // namespace detail

static_assert(detail::in_order(), "one row a limit, in the order of the enumeration");

/// What the table says; for what cannot be set.
constexpr std::uint64_t default_of(Limit limit) {
    return limit_table[static_cast<std::size_t>(limit)].value;
}

/// The limits of a daemon: what they are, how much is in use, how often they held. Loop only.
class Limits {
  public:
    Limits();
    Limits(const Limits&) = delete;
    Limits& operator=(const Limits&) = delete;

    [[nodiscard]] std::uint64_t max(Limit limit) const { return values_[index(limit)]; }

    [[nodiscard]] Duration time(Limit limit) const {
        return std::chrono::milliseconds(static_cast<std::int64_t>(max(limit)));
    }

    /// Before anything is served.
    void set(Limit limit, std::uint64_t value) { values_[index(limit)] = value; }

    /// Counts once that something went beyond it.
    void exceeded(Limit limit) { ++exceeded_[index(limit)]; }

    [[nodiscard]] std::uint64_t times_exceeded(Limit limit) const {
        return exceeded_[index(limit)];
    }

    /// Who knows how much of it is in use now, asked when the figures are read.
    void use(Limit limit, std::function<std::uint64_t()> in_use) {
        in_use_[index(limit)] = std::move(in_use);
    }

    /// As Prometheus text: xapi_limit, xapi_limit_in_use, xapi_limit_exceeded_total by `limit`.
    [[nodiscard]] std::string text() const;

  private:
    static constexpr auto count = static_cast<std::size_t>(Limit::count_);

    static constexpr std::size_t index(Limit limit) { return static_cast<std::size_t>(limit); }

    std::array<std::uint64_t, count> values_{};
    std::array<std::uint64_t, count> exceeded_{};
    std::array<std::function<std::uint64_t()>, count> in_use_;
};

}  // namespace basalt
