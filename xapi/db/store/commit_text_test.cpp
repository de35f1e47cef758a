#include "xapi/db/store/commit_text.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace basalt::db {
namespace {

TEST(CommitText, is_readable_and_comes_back_equal) {
    const CommitRecord record{3,
                              17,
                              1'800'000'000,
                              {{"VM", Uuid::from_words(1, 2), 5, 9, R"({"name_label":"a b - c"})"},
                               {"VBD", Uuid::from_words(3, 4), 6, 10, std::nullopt}}};
    const std::string text = encode_commit(record);
    EXPECT_EQ(text, "basalt-commit 1 3 17 1800000000 2\nVM " + Uuid::from_words(1, 2).text() +
                        " 5 9 {\"name_label\":\"a b - c\"}\nVBD " + Uuid::from_words(3, 4).text() +
                        " 6 10 -\n");
    EXPECT_EQ(decode_commit(text), record);
}

TEST(CommitText, refuses_every_shortened_or_extended_text) {
    const std::string text = encode_commit({1, 2, 3, {{"VM", Uuid::from_words(1, 2), 1, 1, "{}"}}});
    for (std::size_t size = 0; size < text.size(); ++size)
        EXPECT_THROW((void)decode_commit(text.substr(0, size)), std::invalid_argument) << size;
    EXPECT_THROW((void)decode_commit(text + "x"), std::invalid_argument);
    EXPECT_THROW((void)decode_commit("another 1 2\n"), std::invalid_argument);
}

}  // namespace
}  // namespace basalt::db
