#pragma once
// For .cpp files; a header that only names the type includes <nlohmann/json_fwd.hpp>.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace basalt {

using Json = nlohmann::json;

}  // namespace basalt
