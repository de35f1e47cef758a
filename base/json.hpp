#pragma once
// For .cpp files; a header that only names the type includes <nlohmann/json_fwd.hpp>.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace basalt {

using Json = nlohmann::json;

/// How deep what others send may be nested: copying and writing a Json recurses once a level.
inline constexpr int json_nesting_max = 500;

/// Parses what another process sent. Discarded (`is_discarded`): no JSON, or nested too deeply.
[[nodiscard]] Json parse_foreign_json(std::string_view text);

/// The string member of that name; empty when this is no object or has no such string.
[[nodiscard]] std::string text_member(const Json& object, const char* name);

}  // namespace basalt
