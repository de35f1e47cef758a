// Which part of a body a request gets.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "xapi/transfer/ranges.hpp"

namespace basalt::transfer {
namespace {

using Kind = RangeAnswer::Kind;

constexpr std::uint64_t size = 1000;
constexpr const char* etag = "\"v1\"";

RangeAnswer answer(const std::optional<std::string>& range,
                   const std::optional<std::string>& if_range = {}, std::string_view tag = etag,
                   std::uint64_t of = size) {
    server::HttpRequest request;
    if (range) request.headers.emplace_back("range", *range);
    if (if_range) request.headers.emplace_back("IF-RANGE", *if_range);
    return range_of(request, of, tag);
}

void expect(const RangeAnswer& got, Kind kind, ByteRange bytes, const std::string& what) {
    EXPECT_EQ(got.kind, kind) << what;
    EXPECT_EQ(got.bytes, bytes) << what;
}

TEST(Ranges, a_part_is_what_was_asked_for_and_is_there) {
    expect(answer("bytes=0-"), Kind::part, {0, 1000}, "all of it, asked for as a part");
    expect(answer("bytes=400-"), Kind::part, {400, 1000}, "the rest");
    expect(answer("bytes=999-"), Kind::part, {999, 1000}, "the last byte");
    expect(answer("bytes=10-19"), Kind::part, {10, 20}, "ten bytes");
    expect(answer("bytes=10-5000"), Kind::part, {10, 1000}, "more than there is");
    expect(answer("bytes=-100"), Kind::part, {900, 1000}, "the last ones");
    expect(answer("bytes=-5000"), Kind::part, {0, 1000}, "more last ones than there are");
}

TEST(Ranges, what_begins_beyond_the_end_is_told_so) {
    for (const char* range : {"bytes=1000-", "bytes=18446744073709551615-", "bytes=-0"})
        expect(answer(range), Kind::beyond, {0, 0}, range);
    expect(answer("bytes=0-", {}, etag, 0), Kind::beyond, {0, 0}, "an empty body");
}

TEST(Ranges, what_cannot_be_honoured_is_ignored) {
    for (const char* range :
         {"bytes=", "bytes=-", "bytes=5", "bytes=0-5,9-", "bytes=9-5", "bytes=-5-9", "bytes=+1-",
          "bytes=0x5-", "bytes= 5-", "items=0-", "0-", "bytes=18446744073709551616-", ""})
        expect(answer(range), Kind::whole, {0, size}, range);
    expect(answer({}), Kind::whole, {0, size}, "none asked for");
    expect(answer("bytes=5-", {}, ""), Kind::whole, {0, size}, "no two answers are alike");
}

TEST(Ranges, a_part_of_other_contents_is_not_sent) {
    expect(answer("bytes=5-", etag), Kind::part, {5, size}, "the same contents");
    for (const char* old : {"\"v0\"", "W/\"v1\"", "v1", "Sat, 01 Jan 2000 00:00:00 GMT", ""})
        expect(answer("bytes=5-", old), Kind::whole, {0, size}, old);
    expect(answer("bytes=5000-", "\"v0\""), Kind::whole, {0, size}, "beyond the end of others");
}

std::string head_of(const RangeAnswer& given, std::string_view tag = etag) {
    server::ResponseHead head;
    describe_range(head, given, size, tag);
    return head.text();
}

TEST(Ranges, the_head_tells_which_part_it_is) {
    const std::string part = head_of(answer("bytes=400-"));
    EXPECT_TRUE(part.starts_with("HTTP/1.1 206 Partial Content\r\n")) << part;
    for (const char* line : {"content-length: 600\r\n", "content-range: bytes 400-999/1000\r\n",
                             "etag: \"v1\"\r\n", "accept-ranges: bytes\r\n"})
        EXPECT_TRUE(part.contains(line)) << line << part;
    const std::string whole = head_of(answer({}));
    EXPECT_TRUE(whole.starts_with("HTTP/1.1 200 OK\r\n")) << whole;
    EXPECT_TRUE(whole.contains("content-length: 1000\r\n")) << whole;
    EXPECT_FALSE(whole.contains("content-range")) << whole;
    const std::string beyond = head_of(answer("bytes=1000-"));
    EXPECT_TRUE(beyond.starts_with("HTTP/1.1 416 Range Not Satisfiable\r\n")) << beyond;
    EXPECT_TRUE(beyond.contains("content-range: bytes */1000\r\n")) << beyond;
    EXPECT_TRUE(beyond.contains("content-length: 0\r\n")) << beyond;
    const std::string changing = head_of(answer({}, {}, ""), "");
    EXPECT_FALSE(changing.contains("etag") || changing.contains("ranges")) << changing;
}

}  // namespace
}  // namespace basalt::transfer
