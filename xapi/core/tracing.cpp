#include "xapi/core/tracing.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <format>

#include "base/error.hpp"
#include "idl/records/observer.hpp"

namespace basalt::core {

namespace {

using xenapi::Observer;
using xenapi::Ref;

constexpr std::string_view own_component = "xapi";
// Those that clients know of such hosts; what the others did is done by xapi and hostd here.
constexpr std::array known_components = {own_component, std::string_view("xenopsd"),
                                         std::string_view("xapi-clusterd"),
                                         std::string_view("smapi")};
constexpr std::size_t trace_digits = 32;
constexpr std::size_t span_digits = 16;
// As many spans are exported before their time is there.
constexpr std::size_t spans_gathered = 1000;

std::optional<std::uint64_t> hex(std::string_view digits) {
    const bool plain = std::ranges::all_of(
        digits, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
    std::uint64_t out = 0;
    if (!plain) return std::nullopt;
    std::from_chars(digits.data(), digits.data() + digits.size(), out, 16);
    return out;
}

}  // namespace

bool is_observed_component(std::string_view word) {
    return std::ranges::contains(known_components, word);
}

std::string SpanContext::trace_id() const {
    return std::format("{:016x}{:016x}", trace_high, trace_low);
}

std::string SpanContext::span_id() const {
    return std::format("{:016x}", span);
}

std::string SpanContext::text() const {
    return trace_id() + "-" + span_id();
}

std::optional<SpanContext> parse_span(std::string_view text) {
    if (text.size() != trace_digits + 1 + span_digits || text[trace_digits] != '-')
        return std::nullopt;
    const auto high = hex(text.substr(0, span_digits));
    const auto low = hex(text.substr(span_digits, span_digits));
    const auto span = hex(text.substr(trace_digits + 1));
    if (!high || !low || !span || (*high == 0 && *low == 0) || *span == 0) return std::nullopt;
    return SpanContext{*high, *low, *span};
}

// VERSION-TRACE-SPAN-FLAGS; later versions may have more behind that. ff is no version.
std::optional<SpanContext> parse_traceparent(std::string_view header) {
    constexpr std::size_t size = 2 + 1 + trace_digits + 1 + span_digits + 1 + 2;
    if (header.size() < size || header[2] != '-' || header[size - 3] != '-') return std::nullopt;
    const auto version = hex(header.substr(0, 2));
    if (!version || *version == 0xff || !hex(header.substr(size - 2, 2))) return std::nullopt;
    if (*version == 0 ? header.size() != size : header.size() > size && header[size] != '-')
        return std::nullopt;
    return parse_span(header.substr(3, trace_digits + 1 + span_digits));
}

struct Traced::State {
    Tracing& tracing;
    Span span;
    Time begun;
};

void Traced::Delete::operator()(State* state) const {
    delete state;
}

Traced::~Traced() {
    if (!state_) return;
    const Duration took = state_->tracing.core_.loop.now() - state_->begun;
    state_->span.duration_us = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
    state_->tracing.end(std::move(state_->span));
}

std::string Traced::text() const {
    return state_ ? state_->span.context.text() : std::string();
}

void Traced::tag(std::string name, std::string value) {
    if (state_ && !value.empty()) state_->span.tags.emplace_back(std::move(name), std::move(value));
}

void Traced::fail(const std::exception_ptr& failure) {
    if (!state_ || !failure) return;
    state_->span.error = is_cancellation(failure) ? "TASK_CANCELLED" : as_api_error(failure).code();
}

bool Tracing::sees_us(Ref<Observer> ref, const Observer& row) const {
    const bool ours =
        row.components.empty() || std::ranges::contains(row.components, own_component);
    if (!row.enabled || !ours || unregistered_.contains(ref)) return false;
    return row.hosts.empty() || registered_.contains(ref) ||
           std::ranges::contains(row.hosts, core_.this_host);
}

std::vector<Ref<Observer>> Tracing::observers() const {
    std::vector<Ref<Observer>> out;
    core_.db.each<Observer>([&](Ref<Observer> ref, const Observer& row) {
        if (sees_us(ref, row)) out.push_back(ref);
    });
    return out;
}

void Tracing::reload() {
    const auto gone = [this](Ref<Observer> ref) { return core_.db.find(ref) == nullptr; };
    std::erase_if(registered_, gone);
    std::erase_if(unregistered_, gone);
    on_ = !observers().empty();
    if (!on_) ended_ = {};
}

void Tracing::register_here(Ref<Observer> observer, bool registered) {
    (registered ? unregistered_ : registered_).erase(observer);
    (registered ? registered_ : unregistered_).insert(observer);
    reload();
}

void Tracing::reload_hosts(Ref<Observer> observer) {
    registered_.erase(observer);
    unregistered_.erase(observer);
    reload();
}

Traced Tracing::begin(std::optional<SpanContext> parent, std::string name, bool served) {
    Traced out;
    Span span;
    span.context = parent.value_or(SpanContext{});
    span.parent = span.context.span;
    if (!parent) span.context.trace_high = core_.loop.random();
    if (!parent) span.context.trace_low = core_.loop.random() | 1U;  // zeros are no trace
    span.context.span = core_.loop.random() | 1U;
    span.name = std::move(name);
    span.served = served;
    span.begin_us = core_.loop.wall_ns() / 1000;
    out.state_.reset(new Traced::State{*this, std::move(span), core_.loop.now()});
    return out;
}

Traced Tracing::serve(std::string name, std::string_view traceparent) {
    if (!on_) return {};
    return begin(parse_traceparent(traceparent), std::move(name), true);
}

Traced Tracing::within(const std::string& text, std::string name, bool served) {
    if (!on_) return {};
    const auto parent = parse_span(text);
    if (!parent) return {};
    return begin(parent, std::move(name), served);
}

void Tracing::end(Span span) {
    if (!on_) return;
    if (ended_.size() >= spans_max) {
        ++lost_;
        return;
    }
    ended_.push_back(std::move(span));
    if (ended_.size() == 1 || ended_.size() == spans_gathered) gathered_.notify_all();
}

Task<std::vector<Span>> Tracing::take(Duration patience) {
    while (ended_.empty())
        co_await gathered_.wait();
    if (ended_.size() < spans_gathered) co_await gathered_.wait_for(patience);
    co_return std::exchange(ended_, {});
}

}  // namespace basalt::core
