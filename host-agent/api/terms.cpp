#include "host-agent/api/terms.hpp"

namespace basalt::agent {

namespace {
constexpr const char* word = "term over";
}

ApiError term_over(std::int64_t given, std::int64_t seen) {
    return {"INTERNAL_ERROR", {word, std::to_string(given), std::to_string(seen)}};
}

std::optional<std::int64_t> newer_term(const ApiError& error) {
    if (error.code() != "INTERNAL_ERROR" || error.params().size() != 3) return std::nullopt;
    if (error.params().front() != word) return std::nullopt;
    return std::stoll(error.params()[2]);
}

}  // namespace basalt::agent
