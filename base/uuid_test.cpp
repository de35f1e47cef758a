#include "base/uuid.hpp"

#include <gtest/gtest.h>

namespace basalt {
namespace {

TEST(Uuid, text_and_parse_are_inverse) {
    const Uuid uuid = Uuid::from_words(0x0123456789abcdefULL, 0xfedcba9876543210ULL);
    EXPECT_EQ(uuid.text(), "01234567-89ab-4def-bedc-ba9876543210");
    EXPECT_EQ(Uuid::parse(uuid.text()), uuid);
}

TEST(Uuid, refuses_what_is_not_one) {
    for (const char* text :
         {"", "nope", "01234567-89ab-4def-bedc-ba987654321", "01234567x89ab-4def-bedc-ba9876543210",
          "0123456g-89ab-4def-bedc-ba9876543210"})
        EXPECT_FALSE(Uuid::parse(text)) << text;
}

TEST(Uuid, default_is_none) {
    EXPECT_TRUE(Uuid{}.none());
    EXPECT_FALSE(Uuid::from_words(1, 2).none());
}

}  // namespace
}  // namespace basalt
