#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/wait.hpp"
#include "idl/classes.hpp"
#include "idl/records/observer.hpp"
#include "xapi/core/core.hpp"

namespace basalt::core {

/// Where a piece of work stands: in which trace, and which of its spans it is.
struct SpanContext {
    std::uint64_t trace_high = 0;
    std::uint64_t trace_low = 0;
    std::uint64_t span = 0;

    /// 32 hex digits.
    [[nodiscard]] std::string trace_id() const;
    /// 16 hex digits.
    [[nodiscard]] std::string span_id() const;
    /// `TRACE-SPAN`: what log lines of both daemons call it, and what hosts are told.
    [[nodiscard]] std::string text() const;

    bool operator==(const SpanContext&) const = default;
};

/// Of a traceparent header (W3C Trace Context, version 00 and what later ones have in common);
/// nothing for what is none.
std::optional<SpanContext> parse_traceparent(std::string_view header);
/// What SpanContext::text said; nothing for any other text.
std::optional<SpanContext> parse_span(std::string_view text);

/// Work that has ended.
struct Span {
    SpanContext context;
    std::uint64_t parent = 0;  ///< 0: none
    std::string name;
    bool served = true;         ///< we did it for who asked; else we asked for it
    std::int64_t begin_us = 0;  ///< since 1970
    std::int64_t duration_us = 0;
    std::string error;  ///< its code; empty: done
    std::vector<std::pair<std::string, std::string>> tags;
};

class Tracing;

/// Work under way, which becomes a span when this goes. Made by Tracing; one that was made without
/// it stands for work that nobody observes and does nothing. Loop only.
class Traced {
  public:
    Traced() = default;
    Traced(Traced&& other) noexcept = default;
    Traced& operator=(Traced&& other) noexcept = delete;
    Traced(const Traced&) = delete;
    Traced& operator=(const Traced&) = delete;
    ~Traced();

    explicit operator bool() const { return state_ != nullptr; }

    /// For Call::follow: what is done for it meanwhile is found by that.
    [[nodiscard]] std::string text() const;
    void tag(std::string name, std::string value);
    /// It did not do what was asked.
    void fail(const std::exception_ptr& failure);

    /// It is no span after all.
    void forget() { state_.reset(); }

  private:
    friend class Tracing;
    struct State;

    struct Delete {
        void operator()(State* state) const;
    };

    std::unique_ptr<State, Delete> state_;
};

/// What observers (class Observer) see of this xapi: a span for each call and for each verb that it
/// asks of a host. Without an observer that is enabled nothing is made. Loop only; outlives all
/// work.
class Tracing {
  public:
    /// Of ended work that nobody has fetched; further spans are counted and lost.
    static constexpr std::size_t spans_max = 10'000;

    explicit Tracing(Core& core) : core_(core), gathered_(core.loop) {}

    [[nodiscard]] bool on() const { return on_; }

    /// The rows of observers have changed.
    void reload();
    /// An observer begins or ends to see this host whatever its row says, until `reload_hosts` or
    /// the next start.
    void register_here(xenapi::Ref<xenapi::Observer> observer, bool registered);
    /// What its row says of hosts counts again.
    void reload_hosts(xenapi::Ref<xenapi::Observer> observer);
    /// The observers that see this host's xapi now.
    [[nodiscard]] std::vector<xenapi::Ref<xenapi::Observer>> observers() const;

    /// A call that somebody made. `traceparent` is what he said of his own trace, or empty. Nothing
    /// is made while nobody observes.
    Traced serve(std::string name, std::string_view traceparent);
    /// Something that is done for the observed work with this text, or that is asked for.
    Traced within(const std::string& text, std::string name, bool served);

    [[nodiscard]] std::size_t waiting() const { return ended_.size(); }

    [[nodiscard]] std::uint64_t lost() const { return lost_; }

    /// All that ended since the last time, oldest first. Waits until there is some, and then until
    /// `patience` has passed or many have gathered.
    Task<std::vector<Span>> take(Duration patience);

  private:
    friend class Traced;

    Traced begin(std::optional<SpanContext> parent, std::string name, bool served);
    void end(Span span);
    [[nodiscard]] bool sees_us(xenapi::Ref<xenapi::Observer> ref,
                               const xenapi::Observer& row) const;

    Core& core_;
    bool on_ = false;
    std::set<xenapi::Ref<xenapi::Observer>> registered_;
    std::set<xenapi::Ref<xenapi::Observer>> unregistered_;
    std::vector<Span> ended_;
    std::uint64_t lost_ = 0;
    Signal gathered_;
};

/// The words that Observer.components may have. One that has none of ours, or others too, is for
/// other programs of such hosts.
[[nodiscard]] bool is_observed_component(std::string_view word);

}  // namespace basalt::core
