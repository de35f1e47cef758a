#include "base/durable_file.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace basalt {

namespace {

namespace fs = std::filesystem;

class DurableFile : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "durable-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder = name;
    }

    void TearDown() override { fs::remove_all(folder); }

    static std::string text_of(const fs::path& path) {
        std::ifstream in(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }

    fs::path folder;
};

TEST_F(DurableFile, is_replaced_whole_and_is_its_owners_alone) {
    const fs::path path = folder / "file";
    write_durably(path, std::string(100'000, 'a'));
    write_durably(path, "short");
    EXPECT_EQ(text_of(path), "short");
    EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1);
}

TEST_F(DurableFile, is_not_written_through_somebodys_link) {
    write_durably(folder / "precious", "old");
    fs::create_symlink(folder / "precious", folder / "file.new");
    EXPECT_THROW(write_durably(folder / "file", "new"), std::system_error);
    EXPECT_EQ(text_of(folder / "precious"), "old");
    EXPECT_FALSE(fs::exists(folder / "file"));
}

TEST_F(DurableFile, takes_the_place_of_another) {
    write_durably(folder / "one", "1");
    write_durably(folder / "other", "2");
    rename_durably(folder / "one", folder / "other");
    EXPECT_EQ(text_of(folder / "other"), "1");
    EXPECT_FALSE(fs::exists(folder / "one"));
    EXPECT_THROW(rename_durably(folder / "one", folder / "other"), std::system_error);
    EXPECT_THROW(sync_folder(folder / "nowhere"), std::system_error);
}

}  // namespace

}  // namespace basalt
