#include "xapi/rpc/answer_writer.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "xapi/rpc/endpoints.hpp"
#include "xapi/rpc/large_text.hpp"

namespace basalt::server {

namespace {

// A slice is about a quarter of a millisecond, if nothing is in the caches: a piece of text, or so
// many lengths added up.
constexpr std::size_t slice_items = 256;
// Rendered on a pool thread to be measured, before others get that thread.
constexpr std::size_t measured_at_once = 256;
// After so much of one answer, others that wait for a place get theirs.
constexpr std::size_t share_bytes = std::size_t{1024} * 1024;
constexpr std::size_t head_bytes_max = 512;  // of answers
// What the kernel takes at once from a peer that reads; less is not counted.
constexpr std::size_t uncounted_bytes = std::size_t{16} * 1024;
// Few enough to be rendered without being measured.
constexpr std::size_t few_items = 16;
// More rows than these are freed on a pool thread.
constexpr std::size_t freed_on_loop_max = 256;

std::string whole(const LargeText& text, std::size_t length) {
    std::string bytes;
    bytes.reserve(length);
    text.begin(bytes);
    for (std::size_t i = 0; i < text.items(); ++i)
        text.append(i, bytes);
    text.end(bytes);
    return bytes;
}

}  // namespace

AnswerWriter::AnswerWriter(core::Core& core)
    : core_(core),
      large_(core.loop, core.limits.max(Limit::answers_large),
             core.limits.max(Limit::answers_large_of_peer)),
      bytes_(core.loop, core.limits.max(Limit::answer_bytes),
             core.limits.max(Limit::answer_bytes_of_peer)) {
    core_.limits.use(Limit::answers_large, [this] { return large_.in_use(); });
    core_.limits.use(Limit::answer_bytes, [this] { return bytes_.in_use(); });
}

std::optional<std::string> AnswerWriter::write_now(Exchange& exchange, const MethodCall& call,
                                                   const Answer& answer) {
    if (answer.rows || is_large(answer.reply)) return std::nullopt;
    const std::string text =
        answer.bare ? bare_text(call, answer.reply) : success_text(call, answer.reply);
    if (text.size() > uncounted_bytes) return std::nullopt;
    const HttpRequest& request = exchange.request();
    std::string bytes;
    bytes.reserve(text.size() + head_bytes_max);
    append_ok_head(bytes, request, content_type(call.protocol), text.size(), cors_lines());
    bytes += text;
    bytes.erase(0, exchange.answer_now(bytes, !request.keep_alive));
    return bytes;
}

Task<void> AnswerWriter::write(Exchange& exchange, const MethodCall& call, Answer answer,
                               core::Contender who) {
    std::unique_ptr<LargeText> text = answer.rows ? rows_text(call, std::move(*answer.rows))
                                                  : events_text(call, answer.reply, core_.db);
    if (!text) {
        co_return co_await write_text(
            exchange, call,
            answer.bare ? bare_text(call, answer.reply) : success_text(call, answer.reply),
            std::move(who));
    }
    co_await write_large(exchange, call, *text, std::move(who));
    if (text->items() <= freed_on_loop_max) co_return;
    // To free tens of thousands of rows and texts takes long.
    answer = {};
    core_.loop.offload([gone = std::move(text)] { (void)gone; }, [] {});
}

Task<void> AnswerWriter::write_text(Exchange& exchange, const MethodCall& call, std::string text,
                                    core::Contender who) {
    core::FairGate::Place place;
    if (text.size() > uncounted_bytes) place = co_await bytes_.enter(std::move(who), text.size());
    co_await exchange.respond(ok_response(exchange.request(),
                                          std::string(content_type(call.protocol)), std::move(text),
                                          cors_headers()));
}

Task<void> AnswerWriter::write_large(Exchange& exchange, const MethodCall& call, LargeText& text,
                                     core::Contender who) {
    const bool few = text.items() <= few_items;
    const std::size_t length = few ? 0 : co_await measure(text, who);
    if (length <= whole_max)
        co_return co_await write_text(exchange, call, whole(text, length), std::move(who));
    const auto place = co_await bytes_.enter(who, 2 * piece);
    co_await exchange.begin(ok_head(exchange.request(), std::string(content_type(call.protocol)),
                                    length, cors_headers()),
                            !exchange.request().keep_alive);
    co_await write_pieces(exchange, text, std::move(who));
}

/// The length of the whole text, mostly a sum of what is known of its items.
Task<std::size_t> AnswerWriter::measure(LargeText& text, core::Contender who) {
    std::string frame;
    text.begin(frame);
    text.end(frame);
    std::size_t total = frame.size();
    std::vector<std::size_t> unknown;
    for (std::size_t i = 0; i < text.items(); ++i) {
        if (i % slice_items == slice_items - 1) co_await core_.turns.next(who);
        const std::size_t length = text.known_bytes(i);
        total += length;
        if (length == 0) unknown.push_back(i);
    }
    if (!unknown.empty())
        total += co_await measure_by_rendering(text, std::move(unknown), std::move(who));
    co_return total;
}

Task<std::size_t> AnswerWriter::measure_by_rendering(LargeText& text,
                                                     std::vector<std::size_t> items,
                                                     core::Contender who) {
    std::size_t total = 0;
    for (std::span<const std::size_t> left(items); !left.empty();) {
        const auto some = left.first(std::min(left.size(), measured_at_once));
        left = left.subspan(some.size());
        const auto place = co_await core_.preparing.enter(who);
        const auto lengths = co_await blocking(core_.loop, [&text, some] {
            std::vector<std::size_t> measured;
            std::string scratch;
            for (const std::size_t item : some) {
                scratch.clear();
                text.append(item, scratch);
                measured.push_back(scratch.size());
            }
            return measured;
        });
        for (std::size_t i = 0; i < some.size(); ++i) {
            text.note_bytes(some[i], lengths[i]);
            total += lengths[i];
        }
    }
    co_return total;
}

Task<void> AnswerWriter::write_pieces(Exchange& exchange, const LargeText& text,
                                      core::Contender who) {
    core::FairGate::Place place = co_await large_.enter(who);
    std::size_t of_share = 0;
    std::string bytes;
    bytes.reserve(2 * piece);  // what the last item of a piece is over, too, mostly
    text.begin(bytes);
    for (std::size_t i = 0; i < text.items(); ++i) {
        text.append(i, bytes);
        if (bytes.size() < piece) continue;
        of_share += bytes.size();
        co_await write_piece(exchange, bytes, place);
        bytes.clear();
        if (of_share > share_bytes) place.give_back();
        if (!place.held()) {
            of_share = 0;
            place = co_await large_.enter(who);
        }
        co_await core_.turns.next(who);
    }
    text.end(bytes);
    co_await write_piece(exchange, bytes, place);
}

/// Gives the place back while the peer does not take what it asked for.
Task<void> AnswerWriter::write_piece(Exchange& exchange, const std::string& bytes,
                                     core::FairGate::Place& place) {
    struct Timer {
        Loop& loop;
        Loop::TimerId id;

        ~Timer() { loop.cancel(id); }
    };

    Limits& limits = core_.limits;
    Loop& loop = core_.loop;
    const Timer timer{
        loop, loop.at(loop.now() + limits.time(Limit::answer_stall_time), [&limits, &place] {
            limits.exceeded(Limit::answer_stall_time);
            place.give_back();
        })};
    co_await exchange.write(bytes);
}

}  // namespace basalt::server
