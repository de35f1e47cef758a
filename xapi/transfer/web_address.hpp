#pragma once
#include <cstdint>
#include <string>

namespace basalt::transfer {

/// Where something lies on a web server.
struct WebAddress {
    bool tls = false;
    std::string host;
    std::string host_header;  ///< as in the address: with brackets, and the port if it says one
    std::uint16_t port = 0;
    std::string user;    ///< and the password, percent-decoded, joined by a colon; empty: none
    std::string target;  ///< path and query
};

/// `http://` or `https://`, as much of RFC 3986 as these need. INVALID_VALUE [url, text].
WebAddress parse_web_address(const std::string& url);

/// The letters of ASCII in lower case, the rest as it is.
std::string ascii_lower(std::string text);

}  // namespace basalt::transfer
