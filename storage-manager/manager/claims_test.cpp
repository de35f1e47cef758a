#include "storage-manager/manager/claims.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/sim_loop.hpp"

namespace basalt::sm {
namespace {

using agent::Access;
using Kind = Claims::Kind;

Task<void> take(Claims& claims, Access access, Kind kind, std::string& out) {
    try {
        const auto id = co_await claims.take({"sr/a", "a", access, kind, "attach"});
        out = std::to_string(id);
    } catch (const ApiError& error) {
        out = error.what();
    }
}

std::string taken(SimLoop& loop, Claims& claims, Access access, Kind kind) {
    std::string out;
    spawn(loop, "take", take(claims, access, kind, out));
    loop.run_for(1min);
    return out;
}

TEST(Claims, readers_share_and_a_writer_does_not) {
    SimLoop loop(1);
    Claims claims(loop);
    EXPECT_EQ(taken(loop, claims, Access::ro, Kind::guest), "1");
    EXPECT_EQ(taken(loop, claims, Access::ro, Kind::guest), "2");
    EXPECT_EQ(taken(loop, claims, Access::rw, Kind::guest), "VDI_IN_USE(a, attach)");
    claims.release(1);
    EXPECT_TRUE(claims.sole("sr/a"));
    claims.release(2);
    EXPECT_FALSE(claims.used("sr/a"));
    EXPECT_EQ(taken(loop, claims, Access::rw, Kind::guest), "3");
}

TEST(Claims, a_transfer_is_waited_for_a_guest_is_not) {
    SimLoop loop(2);
    Claims claims(loop);
    const std::string transfer = taken(loop, claims, Access::rw, Kind::transfer);
    std::string guest;
    spawn(loop, "take", take(claims, Access::rw, Kind::guest, guest));
    loop.run_for(1s);
    EXPECT_EQ(guest, "");
    claims.release(std::stoull(transfer));
    loop.run_for(1ms);
    EXPECT_EQ(guest, "2");
    const Time before = loop.now();
    EXPECT_EQ(taken(loop, claims, Access::ro, Kind::guest), "VDI_IN_USE(a, attach)");
    EXPECT_LT(loop.now() - before, 2min);
}

}  // namespace
}  // namespace basalt::sm
