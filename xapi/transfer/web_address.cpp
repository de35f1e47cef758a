#include "xapi/transfer/web_address.hpp"

#include <algorithm>
#include <charconv>

#include "idl/errors.hpp"
#include "xapi/rpc/http.hpp"

namespace basalt::transfer {

namespace {

[[noreturn]] void refuse(const std::string& url) {
    throw err::invalid_value("url", url);
}

}  // namespace

std::string ascii_lower(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) {
        return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    });
    return text;
}

WebAddress parse_web_address(const std::string& url) {
    const bool plain = url.find_first_of(" \r\n\t") == std::string::npos;
    const std::size_t after = url.find("://");
    if (!plain || after == std::string::npos) refuse(url);
    WebAddress out;
    const std::string scheme = ascii_lower(url.substr(0, after));
    if (scheme != "http" && scheme != "https") refuse(url);
    out.tls = scheme == "https";
    const std::size_t begin = after + 3;
    const std::size_t path = std::min(url.find_first_of("/?#", begin), url.size());
    std::string authority = url.substr(begin, path - begin);
    out.target = url.substr(path, url.find('#', path) - path);
    if (!out.target.starts_with('/')) out.target.insert(0, "/");
    if (const std::size_t at = authority.rfind('@'); at != std::string::npos) {
        out.user = server::percent_decoded(authority.substr(0, at), false);
        authority.erase(0, at + 1);
    }
    out.host_header = authority;
    const std::size_t bracket = authority.find(']');
    const std::size_t colon = authority.find(':', bracket == std::string::npos ? 0 : bracket);
    out.port = out.tls ? 443 : 80;
    if (colon != std::string::npos) {
        const char* end = authority.data() + authority.size();
        const auto [stop, error] = std::from_chars(authority.data() + colon + 1, end, out.port);
        if (error != std::errc{} || stop != end || out.port == 0) refuse(url);
    }
    out.host = authority.substr(0, colon);
    if (out.host.starts_with('[') && out.host.ends_with(']'))
        out.host = out.host.substr(1, out.host.size() - 2);
    if (out.host.empty()) refuse(url);
    return out;
}

}  // namespace basalt::transfer
