#include "network-manager/linux/sriov.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace basalt::nm::links {
namespace {

namespace fs = std::filesystem;

class SriovFacts : public testing::Test {
  protected:
    void SetUp() override { fs::create_directories(folder_); }

    void TearDown() override { fs::remove_all(folder_); }

    void says(const char* file, const char* text) { std::ofstream(folder_ / file) << text; }

    Sriov read() { return read_sriov(folder_); }

    fs::path folder_ = fs::path(testing::TempDir()) / ("sriov-" + std::to_string(::getpid()));
};

TEST_F(SriovFacts, a_card_tells_how_many_functions_it_can_have_and_has) {
    says("sriov_totalvfs", "63\n");
    says("sriov_numvfs", "4\n");
    EXPECT_EQ(read(), (Sriov{.vfs_max = 63, .vfs = 4, .card = {}}));
}

TEST_F(SriovFacts, a_virtual_function_names_its_card) {
    fs::create_symlink("../0000:3b:00.0", folder_ / "physfn");
    EXPECT_EQ(read(), (Sriov{.vfs_max = 0, .vfs = 0, .card = "0000:3b:00.0"}));
}

TEST_F(SriovFacts, other_devices_have_none) {
    EXPECT_EQ(read(), Sriov{});
    EXPECT_EQ(read_sriov("/nowhere"), Sriov{});
}

TEST_F(SriovFacts, what_is_no_number_is_none) {
    says("sriov_totalvfs", "8 or so\n");
    says("sriov_numvfs", "-3\n");
    EXPECT_EQ(read(), Sriov{});
    says("sriov_totalvfs", "2\n");
    says("sriov_numvfs", "7\n");
    EXPECT_EQ(read(), (Sriov{.vfs_max = 2, .vfs = 2, .card = {}}));
}

}  // namespace
}  // namespace basalt::nm::links
