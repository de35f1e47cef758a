#pragma once
#include <cstdint>
#include <string_view>

#include "xapi/rpc/http.hpp"

/// Parts of a body (RFC 9110, section 14): a client whose download broke off asks for the rest.
namespace basalt::transfer {

/// Bytes [begin, end) of a body.
struct ByteRange {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;

    bool operator==(const ByteRange&) const = default;
};

/// What to answer to a request that may ask for a part.
struct RangeAnswer {
    enum class Kind : std::uint8_t {
        whole,   ///< 200
        part,    ///< 206
        beyond,  ///< 416: it begins where there is nothing
    };

    Kind kind = Kind::whole;
    ByteRange bytes;  ///< what to send
};

/// For a body of `size` bytes that has the strong validator `etag`, with its quotes; empty: two
/// answers may have other bytes, so none is ever cut. As HTTP says, what cannot be honoured
/// (several ranges, another unit, an If-Range that does not hold, nonsense) is answered with the
/// whole.
[[nodiscard]] RangeAnswer range_of(const server::HttpRequest& request, std::uint64_t size,
                                   std::string_view etag);

/// Makes `head` the head of that answer: its status, length, and the headers by which a client
/// knows that it may ask for parts.
void describe_range(server::ResponseHead& head, const RangeAnswer& answer, std::uint64_t size,
                    std::string_view etag);

}  // namespace basalt::transfer
