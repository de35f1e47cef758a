#include "hypervisor/xen/store.hpp"

#include <gtest/gtest.h>

namespace basalt::hv::xen {
namespace {

TEST(XenStore, a_path_tells_whose_it_is) {
    EXPECT_EQ(domain_of_path("/local/domain/7/data"), 7);
    EXPECT_EQ(domain_of_path(path_of_domain(12)), 12);
    EXPECT_EQ(domain_of_path("/local/domain/"), std::nullopt);
    EXPECT_EQ(domain_of_path("/local/domain/x/data"), std::nullopt);
    EXPECT_EQ(domain_of_path("/local/domain/7x/data"), std::nullopt);
    EXPECT_EQ(domain_of_path("/vm/7"), std::nullopt);
    EXPECT_EQ(domain_of_path("@releaseDomain"), std::nullopt);
}

}  // namespace
}  // namespace basalt::hv::xen
