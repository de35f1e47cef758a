#pragma once
#include <expected>
#include <string>
#include <string_view>

#include "xapi/db/database.hpp"

namespace basalt::db {

inline constexpr unsigned token_generation_bits = 44;

/// What a token says: position of the newest event its holder saw.
struct TokenParts {
    Epoch epoch = 0;
    Generation generation = 0;
    std::uint64_t store_id = 0;

    friend bool operator==(const TokenParts&, const TokenParts&) = default;
};

[[nodiscard]] std::string token_text(const TokenParts& parts);
/// Only `malformed` here: whose token it is the caller knows.
[[nodiscard]] std::expected<TokenParts, TokenProblem> parse_token_text(std::string_view text);

}  // namespace basalt::db
