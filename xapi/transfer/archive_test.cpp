// What the writer writes, the reader reads, however it is cut into pieces and compressed.
#include <gmock/gmock.h>

#include <algorithm>

#include "base/sim_loop.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "xapi/transfer/archive_reader.hpp"
#include "xapi/transfer/archive_writer.hpp"

namespace basalt::transfer {
namespace {

struct File {
    std::string name;
    std::string content;

    bool operator==(const File&) const = default;
};

std::vector<File> sample() {
    std::string mixed;
    for (int i = 0; i < (1 << 20); ++i)
        mixed += static_cast<char>((i * 2654435761U) >> 13);
    return {{"ova.xml", "<value/>"},
            {"Ref:1/00000000", mixed},
            {"Ref:1/00000007", std::string(3 << 20, '\0')},
            {"Ref:10/00000000", ""},
            {"Ref:2/00000000", "odd size"}};
}

std::string archive_of(const std::vector<File>& files, Compression compression) {
    ArchiveWriter writer(compression);
    std::string out;
    for (const File& file : files) {
        writer.add(file.name, file.content);
        out += writer.take();
    }
    writer.finish();
    return out + writer.take();
}

ArchiveReader::Source source_of(const std::string& bytes, std::size_t piece) {
    auto at = std::make_shared<std::size_t>(0);
    return [&bytes, piece, at](std::span<char> buffer) -> Task<std::size_t> {
        const std::size_t count = std::min({piece, buffer.size(), bytes.size() - *at});
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(*at), count, buffer.begin());
        *at += count;
        co_return count;
    };
}

Task<void> read_all(ArchiveReader& reader, std::vector<File>& out) {
    while (const auto entry = co_await reader.next())
        out.push_back({entry->name, co_await reader.content(std::size_t{8} << 20)});
}

/// The error's code, or empty.
std::string read_into(std::vector<File>& out, const std::string& archive, std::size_t piece) {
    SimLoop loop(1);
    ArchiveReader reader(loop, source_of(archive, piece));
    const auto job = spawn(loop, "read", read_all(reader, out));
    EXPECT_TRUE(loop.run_for(1h));
    EXPECT_TRUE(job->finished());
    if (!job->failure()) return {};
    return as_api_error(job->failure()).code();
}

class Archives : public testing::TestWithParam<Compression> {};

TEST_P(Archives, come_back_as_they_were) {
    const std::string archive = archive_of(sample(), GetParam());
    for (const std::size_t piece : {std::size_t{701}, std::size_t{65536}, archive.size()}) {
        std::vector<File> files;
        EXPECT_EQ(read_into(files, archive, piece), "");
        EXPECT_TRUE(files == sample()) << piece;
    }
}

TEST_P(Archives, cut_off_are_known_as_such) {
    std::string archive = archive_of(sample(), GetParam());
    archive.resize(archive.size() / 2);
    std::vector<File> files;
    EXPECT_EQ(read_into(files, archive, 65536), "IMPORT_ERROR_PREMATURE_EOF");
}

INSTANTIATE_TEST_SUITE_P(Each, Archives,
                         testing::Values(Compression::none, Compression::gzip, Compression::zstd));

TEST(Archive, of_something_else_is_refused) {
    std::vector<File> files;
    EXPECT_EQ(read_into(files, std::string(5000, 'x'), 65536), "IMPORT_ERROR");
    EXPECT_EQ(read_into(files, "", 65536), "IMPORT_ERROR_PREMATURE_EOF");
    EXPECT_THAT(files, testing::IsEmpty());
}

TEST(Archive, is_compressed_when_asked) {
    const auto size = [](Compression how) { return archive_of(sample(), how).size(); };
    EXPECT_LT(size(Compression::gzip), size(Compression::none));
    EXPECT_LT(size(Compression::zstd), size(Compression::none));
    EXPECT_EQ(archive_of(sample(), Compression::zstd).substr(0, 4), "\x28\xb5\x2f\xfd");
}

TEST(Archive, says_how_it_is_compressed) {
    const std::string yes = "true";
    const std::string zstd = "zstd";
    const std::string other = "lz4";
    EXPECT_EQ(compression_of(nullptr), Compression::none);
    EXPECT_EQ(compression_of(&yes), Compression::gzip);
    EXPECT_EQ(compression_of(&zstd), Compression::zstd);
    EXPECT_EQ(compression_of(&other), Compression::none);
}

// Values of `xxh64sum` and `sha1sum`.
TEST(Archive, has_the_known_checksums) {
    EXPECT_EQ(xxhash_text(""), "EF46DB3751D8E999");
    EXPECT_EQ(xxhash_text("abc"), "44BC2CF5AD770999");
    EXPECT_EQ(sha1_text("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
}

TEST(Archive, knows_zeros) {
    EXPECT_TRUE(is_zero(""));
    EXPECT_TRUE(is_zero(std::string(4096, '\0')));
    EXPECT_FALSE(is_zero(std::string(4095, '\0') + "x"));
}

}  // namespace
}  // namespace basalt::transfer
