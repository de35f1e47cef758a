#include "xapi/transfer/ranges.hpp"

#include <algorithm>
#include <charconv>
#include <format>
#include <optional>

namespace basalt::transfer {

namespace {

constexpr std::string_view unit = "bytes=";

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = error == std::errc() && end == text.data() + text.size();
    return whole ? std::optional(value) : std::nullopt;
}

/// Of a `Range` header's value: `bytes=FIRST-`, `bytes=FIRST-LAST` or `bytes=-COUNT`; of the last
/// form only `last` is there. Nothing for all else.
struct Asked {
    std::optional<std::uint64_t> first;
    std::optional<std::uint64_t> last;
};

std::optional<Asked> parse(std::string_view text) {
    if (!text.starts_with(unit)) return std::nullopt;
    text.remove_prefix(unit.size());
    const std::size_t dash = text.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    const std::string_view first = text.substr(0, dash);
    const std::string_view last = text.substr(dash + 1);
    const Asked asked{number(first), number(last)};
    // What is not empty must be a number: a comma is none, so several ranges end here.
    if (asked.first.has_value() == first.empty() || asked.last.has_value() == last.empty())
        return std::nullopt;
    if (!asked.first && !asked.last) return std::nullopt;
    if (asked.first && asked.last && *asked.last < *asked.first) return std::nullopt;
    return asked;
}

}  // namespace

RangeAnswer range_of(const server::HttpRequest& request, std::uint64_t size,
                     std::string_view etag) {
    const RangeAnswer whole{RangeAnswer::Kind::whole, {0, size}};
    const std::string* range = request.header("Range");
    if (range == nullptr || etag.empty()) return whole;
    // A date is no validator here: we send none.
    const std::string* still = request.header("If-Range");
    if (still != nullptr && *still != etag) return whole;
    const auto asked = parse(*range);
    if (!asked) return whole;
    ByteRange bytes{0, size};
    if (asked->first) {
        bytes.begin = *asked->first;
        if (asked->last && *asked->last < size) bytes.end = *asked->last + 1;
    } else {
        bytes.begin = size - std::min(*asked->last, size);
    }
    if (bytes.begin >= size) return {RangeAnswer::Kind::beyond, {}};
    return {RangeAnswer::Kind::part, bytes};
}

void describe_range(server::ResponseHead& head, const RangeAnswer& answer, std::uint64_t size,
                    std::string_view etag) {
    const ByteRange& bytes = answer.bytes;
    head.headers.emplace_back("content-length", std::to_string(bytes.end - bytes.begin));
    if (etag.empty()) return;
    head.headers.emplace_back("accept-ranges", "bytes");
    head.headers.emplace_back("etag", etag);
    if (answer.kind == RangeAnswer::Kind::part) {
        head.status = "206 Partial Content";
        head.headers.emplace_back("content-range",
                                  std::format("bytes {}-{}/{}", bytes.begin, bytes.end - 1, size));
    } else if (answer.kind == RangeAnswer::Kind::beyond) {
        head.status = "416 Range Not Satisfiable";
        head.headers.emplace_back("content-range", std::format("bytes */{}", size));
    }
}

}  // namespace basalt::transfer
