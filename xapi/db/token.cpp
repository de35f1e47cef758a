#include "xapi/db/token.hpp"

#include <charconv>
#include <format>

namespace basalt::db {

namespace {

constexpr std::uint64_t generation_mask = (std::uint64_t{1} << token_generation_bits) - 1;

bool parse_number(std::string_view text, std::uint64_t& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

std::string token_text(const TokenParts& parts) {
    return std::format("{:020d},{:020d}", (parts.epoch << token_generation_bits) | parts.generation,
                       parts.store_id);
}

std::expected<TokenParts, TokenProblem> parse_token_text(std::string_view text) {
    const std::size_t comma = text.find(',');
    std::uint64_t position = 0;
    TokenParts parts;
    if (comma == std::string_view::npos || !parse_number(text.substr(0, comma), position) ||
        !parse_number(text.substr(comma + 1), parts.store_id)) {
        return std::unexpected(TokenProblem::malformed);
    }
    parts.epoch = position >> token_generation_bits;
    parts.generation = position & generation_mask;
    return parts;
}

}  // namespace basalt::db
