// The layout of VHD images. That other programs read them is tested against qemu-img, in tests/api.
#include "storage-manager/datapath/vhd.hpp"

#include <gmock/gmock.h>

#include <format>
#include <stdexcept>

namespace basalt::sm::vhd {
namespace {

constexpr std::uint64_t mib = 1 << 20;

Image sample(Type type = Type::dynamic) {
    Image image;
    image.type = type;
    image.size_bytes = 9 * mib;
    image.id = Uuid::from_words(1, 2);
    image.parent = Uuid::from_words(3, 4);
    image.blocks = {0, 3, 4};
    return image;
}

std::string hex(std::string_view bytes) {
    std::string out;
    for (const char c : bytes)
        out += std::format("{:02x}", static_cast<unsigned char>(c));
    return out;
}

std::string digits(const Uuid& uuid) {
    std::string out = uuid.text();
    std::erase(out, '-');
    return out;
}

struct Parts {
    Footer footer;
    Header header;
    std::vector<Place> places;
};

Parts parse(const std::string& head) {
    Parts out;
    out.footer = parse_footer(head.substr(0, footer_bytes));
    out.header = parse_header(head.substr(out.footer.header_at, header_bytes), out.footer);
    out.places = places_of(std::string_view(head).substr(out.header.table_at), out.header,
                           out.header.table_at + out.header.entries * 4);
    return out;
}

TEST(Vhd, says_where_its_blocks_are) {
    const std::string head = head_text(sample());
    const Parts parts = parse(head);
    EXPECT_EQ(parts.footer.type, Type::dynamic);
    EXPECT_EQ(parts.footer.size_bytes, 9 * mib);
    EXPECT_EQ(parts.header.entries, 5U);
    EXPECT_EQ(parts.header.block_bytes, block_bytes);
    EXPECT_EQ(parts.header.bitmap_bytes(), 512U);
    ASSERT_EQ(parts.places.size(), 3U);
    EXPECT_EQ(parts.places[0].number, 0U);
    EXPECT_EQ(parts.places[0].at, head.size());
    EXPECT_EQ(parts.places[1].number, 3U);
    EXPECT_EQ(parts.places[1].at, head.size() + 512 + block_bytes);
    EXPECT_EQ(parts.places[2].at, head.size() + 2 * (512 + block_bytes));
    EXPECT_EQ(stream_bytes(sample()), head.size() + 3 * (512 + block_bytes) + 512);
}

TEST(Vhd, names_its_parent) {
    const std::string head = head_text(sample(Type::differencing));
    EXPECT_EQ(parse(head).footer.type, Type::differencing);
    EXPECT_EQ(hex(head.substr(512 + 40, 16)), digits(sample().parent));
    EXPECT_EQ(hex(footer_text(sample()).substr(68, 16)), digits(sample().id));
}

TEST(Vhd, refuses_what_is_damaged) {
    std::string footer = footer_text(sample());
    EXPECT_TRUE(is_footer(footer));
    footer[48] ^= 1;
    EXPECT_FALSE(is_footer(footer));
    EXPECT_THROW((void)parse_footer(footer), std::invalid_argument);
    EXPECT_THROW((void)parse_footer("conectix"), std::invalid_argument);
    std::string head = head_text(sample());
    const Footer good = parse_footer(head);
    head[512 + 30] ^= 1;
    EXPECT_THROW((void)parse_header(head.substr(512, 1024), good), std::invalid_argument);
}

TEST(Vhd, refuses_blocks_that_overlap) {
    const Header header{.table_at = 0, .entries = 2, .block_bytes = block_bytes};
    const std::string same("\0\0\0\x8\0\0\0\x9", 8);
    EXPECT_THROW((void)places_of(same, header, 0), std::invalid_argument);
    const std::string early("\0\0\0\x1\xff\xff\xff\xff", 8);
    EXPECT_THROW((void)places_of(early, header, 1024), std::invalid_argument);
    EXPECT_EQ(places_of(early, header, 512).size(), 1U);
}

TEST(Vhd, reads_bitmaps_from_the_highest_bit) {
    const std::string bitmap("\xc0\x01\x80", 3);
    EXPECT_EQ(runs_of(bitmap, 24), (std::vector<vhd::Run>{{0, 2}, {15, 2}}));
    EXPECT_EQ(runs_of(bitmap, 16), (std::vector<vhd::Run>{{0, 2}, {15, 1}}));
    EXPECT_TRUE(runs_of(std::string(512, '\0'), 4096).empty());
}

}  // namespace
}  // namespace basalt::sm::vhd
