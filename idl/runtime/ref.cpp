#include "idl/runtime/ref.hpp"

#include <algorithm>

#include "idl/errors.hpp"

namespace basalt::xenapi {

namespace {

constexpr std::string_view null_text = "OpaqueRef:NULL";

}  // namespace

std::string_view write_ref(const Uuid& uuid, RefBuffer& buffer) {
    if (uuid.none()) return null_text;
    std::ranges::copy(ref_prefix, buffer.begin());
    uuid.write(buffer.data() + ref_prefix.size());
    return {buffer.data(), buffer.size()};
}

std::string ref_text(const Uuid& uuid) {
    RefBuffer buffer;
    return std::string(write_ref(uuid, buffer));
}

std::optional<Uuid> parse_ref(std::string_view text) {
    if (text.empty() || text == null_text) return Uuid{};
    if (!text.starts_with(ref_prefix)) return std::nullopt;
    return Uuid::parse(text.substr(ref_prefix.size()));
}

Uuid parse_ref_or_throw(std::string_view class_name, std::string_view text) {
    if (auto uuid = parse_ref(text)) return *uuid;
    throw err::handle_invalid(class_name, text);
}

}  // namespace basalt::xenapi
