#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "idl/runtime/reply.hpp"
#include "idl/runtime/value.hpp"
#include "xapi/core/limits.hpp"

namespace basalt::server {

enum class Protocol { xml, json1, json2 };

/// A request for a method, as either protocol says it.
struct MethodCall {
    Protocol protocol = Protocol::xml;
    std::string method;
    std::vector<wire::Value> params;
    wire::Value id;             ///< JSON only: an integer or a string, echoed
    bool invalid_text = false;  ///< some bytes were not UTF-8 and are U+FFFD now
};

/// Nesting of arrays and structs in a request; wire::parse_json has the same bound.
inline constexpr int depth_max = static_cast<int>(default_of(Limit::nesting));

/// Throws HttpError (500 with a page, as this API answers malformed bodies).
[[nodiscard]] MethodCall parse_xml_call(std::string_view body);
[[nodiscard]] MethodCall parse_json_call(std::string_view body);
/// One `<value>`, as files have it. Throws HttpError.
[[nodiscard]] wire::Value parse_xml_value(std::string_view text);

/// Whether all of it is UTF-8.
[[nodiscard]] bool is_utf8(std::string_view text);
/// Replaces what is not UTF-8 by U+FFFD.
[[nodiscard]] std::string made_utf8(std::string_view text);

// Answers: what stands before and after the value, so that a value can be written in pieces.
// Nothing fails here; `out` is appended to.

inline constexpr std::string_view xml_begin =
    "<?xml version=\"1.0\"?><methodResponse><params><param>";
inline constexpr std::string_view xml_end = "</param></params></methodResponse>";

void begin_success(const MethodCall& call, std::string& out);
void end_success(const MethodCall& call, std::string& out);
/// A whole answer. The bare array of system.listMethods has no status in XML.
[[nodiscard]] std::string success_text(const MethodCall& call, const xenapi::Reply& reply);
[[nodiscard]] std::string bare_text(const MethodCall& call, const xenapi::Reply& reply);
[[nodiscard]] std::string failure_text(const MethodCall& call,
                                       const std::vector<std::string>& description);

[[nodiscard]] inline std::string_view content_type(Protocol protocol) {
    return protocol == Protocol::xml ? "text/xml" : "application/json";
}

}  // namespace basalt::server
