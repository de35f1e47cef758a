#include "hypervisor/qemu/state_files.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/encoding.hpp"

namespace basalt::hv::qemu {
namespace {

namespace fs = std::filesystem;
using agent::StateKind;

class StateFilesTest : public testing::Test {
  protected:
    StateFilesTest() {
        fs::create_directories(dir_);
        put(dir_ + "/fresh", "fresh variables");
    }

    ~StateFilesTest() override { fs::remove_all(dir_); }

    static void put(const std::string& path, const std::string& text) {
        std::ofstream(path, std::ios::binary) << text;
    }

    // As a guest's machine does.
    void guest_writes(StateKind kind, const std::string& bytes) {
        files_.prepare("vm", kind);
        put(files_.path("vm", kind), bytes);
    }

    const std::string dir_ = testing::TempDir() + "state-files-" + std::to_string(::getpid());
    const StateFiles files_{dir_ + "/kept", dir_ + "/fresh"};
};

TEST_F(StateFilesTest, what_no_guest_wrote_is_what_new_machines_get) {
    EXPECT_EQ(files_.read("vm", StateKind::nvram).bytes, "fresh variables");
    EXPECT_FALSE(files_.read("vm", StateKind::nvram).changed);
    EXPECT_EQ(files_.read("vm", StateKind::tpm).bytes, "");
    EXPECT_TRUE(files_.changed().empty());

    files_.prepare("vm", StateKind::nvram);
    EXPECT_EQ(files_.read("vm", StateKind::nvram).bytes, "fresh variables");
    files_.prepare("vm", StateKind::tpm);
    EXPECT_EQ(fs::file_size(files_.path("vm", StateKind::tpm)), 0U);
    EXPECT_FALSE(files_.read("vm", StateKind::tpm).changed);
}

TEST_F(StateFilesTest, a_guests_writes_are_changed_until_told) {
    guest_writes(StateKind::tpm, "one");
    const KeptBytes first = files_.read("vm", StateKind::tpm);
    EXPECT_TRUE(first.changed);
    EXPECT_EQ(first.tag, "");
    ASSERT_EQ(files_.changed().size(), 1U);
    EXPECT_EQ(files_.changed().front(), (agent::StateRef{"vm", StateKind::tpm}));

    // It writes on before the records are told to have the first.
    guest_writes(StateKind::tpm, "two");
    files_.note_told("vm", StateKind::tpm, sha256_hex(first.bytes), "tag-one");
    const KeptBytes second = files_.read("vm", StateKind::tpm);
    EXPECT_EQ(second.bytes, "two");
    EXPECT_EQ(second.tag, "tag-one");
    EXPECT_TRUE(second.changed);

    files_.note_told("vm", StateKind::tpm, sha256_hex("two"), "tag-two");
    EXPECT_FALSE(files_.read("vm", StateKind::tpm).changed);
    EXPECT_TRUE(files_.changed().empty());
    // Preparing a machine loses nothing.
    files_.prepare("vm", StateKind::tpm);
    EXPECT_EQ(files_.read("vm", StateKind::tpm).bytes, "two");
}

TEST_F(StateFilesTest, what_is_given_replaces_it_and_is_known) {
    guest_writes(StateKind::nvram, "old");
    files_.write("vm", StateKind::nvram, {.bytes = "given", .tag = "tag"});
    const KeptBytes now = files_.read("vm", StateKind::nvram);
    EXPECT_EQ(now.bytes, "given");
    EXPECT_EQ(now.tag, "tag");
    EXPECT_FALSE(now.changed);

    files_.write("vm", StateKind::nvram, {});
    EXPECT_EQ(files_.read("vm", StateKind::nvram).bytes, "fresh variables");
    EXPECT_EQ(files_.read("vm", StateKind::nvram).tag, "");
}

TEST_F(StateFilesTest, nothing_is_left_of_a_vm_that_is_gone) {
    guest_writes(StateKind::tpm, "contents");
    files_.write("vm", StateKind::nvram, {.bytes = "given", .tag = "tag"});
    guest_writes(StateKind::nvram, "more");
    files_.remove("vm");
    EXPECT_TRUE(fs::is_empty(dir_ + "/kept"));
    files_.remove("vm");
    EXPECT_TRUE(files_.changed().empty());
}

}  // namespace
}  // namespace basalt::hv::qemu
