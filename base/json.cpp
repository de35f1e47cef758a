#include "base/json.hpp"

namespace basalt {

namespace {

bool nested_too_deeply(std::string_view text) {
    int depth = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') ++i;
            if (c == '"') in_string = false;
            continue;
        }
        if (c == '"') in_string = true;
        if (c == '{' || c == '[') ++depth;
        if (c == '}' || c == ']') --depth;
        if (depth > json_nesting_max) return true;
    }
    return false;
}

}  // namespace

Json parse_foreign_json(std::string_view text) {
    if (nested_too_deeply(text)) return Json(Json::value_t::discarded);
    return Json::parse(text, nullptr, false);
}

std::string text_member(const Json& object, const char* name) {
    if (!object.is_object()) return {};
    const auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace basalt
