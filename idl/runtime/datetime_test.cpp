#include "idl/runtime/datetime.hpp"

#include <gtest/gtest.h>

namespace basalt::xenapi {

namespace {

std::string round(std::string_view text) {
    const auto moment = DateTime::parse(text);
    return moment ? moment->text() : "no date";
}

TEST(DateTime, default_is_never) {
    EXPECT_EQ(DateTime{}.text(), "19700101T00:00:00Z");
    EXPECT_EQ(DateTime{253402300800}.text(), "100000101T00:00:00Z");  // as printf's %04d
    EXPECT_EQ(DateTime{-62198755200}.text(), "-0010101T00:00:00Z");
}

TEST(DateTime, reads_what_clients_write) {
    EXPECT_EQ(round("20200131T23:59:59Z"), "20200131T23:59:59Z");
    EXPECT_EQ(round("20200131T23:59:59"), "20200131T23:59:59Z");
    EXPECT_EQ(round("2020-01-31T23:59:59Z"), "20200131T23:59:59Z");
    EXPECT_EQ(round("2020-01-31T23:59:59.123+01:00"), "20200131T22:59:59Z");
    EXPECT_EQ(round("20200229T00:00:00-0130"), "20200229T01:30:00Z");
    EXPECT_EQ(round("19600101T00:00:00Z"), "19600101T00:00:00Z");
}

TEST(DateTime, refuses_what_is_no_date) {
    for (const auto* text : {"", "2020", "20200230T00:00:00Z", "20200131T24:00:00Z",
                             "20200131T23:59:59Zx", "20200131 23", "20200131T23:59:59+1"}) {
        EXPECT_EQ(round(text), "no date") << text;
    }
}

TEST(DateTime, local_time_has_no_zone) {
    EXPECT_EQ((DateTime{.seconds = 86399, .zoneless = true}.text()), "19700101T23:59:59");
}

}  // namespace

}  // namespace basalt::xenapi
