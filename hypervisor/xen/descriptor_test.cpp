#include "hypervisor/xen/descriptor.hpp"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace basalt::hv::xen {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class XenDescriptors : public testing::Test {
  protected:
    void SetUp() override { ASSERT_NE(::mkdtemp(folder_.data()), nullptr); }

    void TearDown() override { std::filesystem::remove_all(folder_); }

    std::string folder_ = testing::TempDir() + "xen-descriptors-XXXXXX";
};

Descriptor one() {
    Descriptor out{.dom = 7, .complete = true, .boot_id = "b", .started_at = 5, .config = {}};
    out.config.spec.uuid = "u";
    out.config.spec.vcpus = 2;
    return out;
}

TEST_F(XenDescriptors, what_was_written_is_read_until_it_is_removed) {
    const Descriptors descriptors(folder_ + "/xen");
    EXPECT_THAT(descriptors.read().all, IsEmpty());
    descriptors.write(one());
    EXPECT_THAT(descriptors.read().all, ElementsAre(one()));
    descriptors.remove("u");
    descriptors.remove("u");
    EXPECT_THAT(descriptors.read().all, IsEmpty());
}

TEST_F(XenDescriptors, a_broken_one_is_told_by_its_name) {
    const Descriptors descriptors(folder_);
    descriptors.write(one());
    std::ofstream(folder_ + "/v.json") << "{\"dom\": ";
    std::ofstream(folder_ + "/w.json") << std::ifstream(folder_ + "/u.json").rdbuf();
    const Descriptors::Found found = descriptors.read();
    EXPECT_THAT(found.all, ElementsAre(one()));
    EXPECT_THAT(found.broken, testing::UnorderedElementsAre("v", "w"));
}

}  // namespace
}  // namespace basalt::hv::xen
