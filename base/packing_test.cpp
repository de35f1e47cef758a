#include "base/packing.hpp"

#include <gtest/gtest.h>

namespace basalt {
namespace {

TEST(Packing, what_was_packed_comes_back) {
    const std::string flash(std::size_t{512} * 1024, '\xff');
    const std::string packed = zlib_packed(flash);
    EXPECT_LT(packed.size(), 1024U);
    EXPECT_EQ(zlib_unpacked(packed, flash.size()), flash);
    EXPECT_EQ(zlib_unpacked(zlib_packed(""), 16), "");
}

TEST(Packing, what_is_too_much_or_no_stream_does_not) {
    const std::string packed = zlib_packed("four words of text");
    EXPECT_EQ(zlib_unpacked(packed, 17), std::nullopt);
    EXPECT_EQ(zlib_unpacked(packed.substr(0, packed.size() - 1), 100), std::nullopt);
    EXPECT_EQ(zlib_unpacked("no stream", 100), std::nullopt);
}

}  // namespace
}  // namespace basalt
