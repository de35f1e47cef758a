#include "xapi/domain/database_disk.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <vector>

#include "base/encoding.hpp"
#include "base/packing.hpp"
#include "base/uuid.hpp"
#include "idl/errors.hpp"

namespace basalt::domain {

namespace {

constexpr std::size_t head_bytes = 4096;
constexpr std::size_t places = 2;
constexpr std::uint64_t contents_at = std::uint64_t{1} << 20;
constexpr std::size_t piece_bytes = std::size_t{1} << 20;
constexpr std::string_view format_line = "basalt-database 1\n";
constexpr std::string_view sum_name = "sum ";

std::uint64_t place_bytes(const BlockDisk& disk) {
    if (disk.size_bytes() < contents_at) return 0;
    return (disk.size_bytes() - contents_at) / places / head_bytes * head_bytes;
}

std::uint64_t content_at(const BlockDisk& disk, std::size_t place) {
    return contents_at + place * place_bytes(disk);
}

template <class Number>
bool take_number(const std::map<std::string, std::string, std::less<>>& lines,
                 std::string_view name, Number& out) {
    const auto at = lines.find(name);
    if (at == lines.end()) return false;
    const char* const end = at->second.data() + at->second.size();
    const auto result = std::from_chars(at->second.data(), end, out);
    return result.ec == std::errc{} && result.ptr == end;
}

std::map<std::string, std::string, std::less<>> lines_of(std::string_view text) {
    std::map<std::string, std::string, std::less<>> out;
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        const std::size_t space = line.find(' ');
        if (space == std::string_view::npos) continue;
        out.emplace(line.substr(0, space), line.substr(space + 1));
    }
    return out;
}

struct Found {
    std::size_t place = 0;
    DatabaseHead head;
};

/// Newest first.
Task<std::vector<Found>> copies_on(BlockDisk& disk) {
    std::vector<Found> out;
    if (place_bytes(disk) == 0) co_return out;
    for (std::size_t place = 0; place < places; ++place) {
        std::string block(head_bytes, '\0');
        co_await disk.read(place * head_bytes, block);
        if (const auto head = parse_head(block)) out.push_back({place, *head});
    }
    std::ranges::sort(out, std::ranges::greater{},
                      [](const Found& found) { return found.head.sequence; });
    co_return out;
}

Task<std::string> content_of(BlockDisk& disk, Found found) {
    std::string content;
    if (found.head.packed_bytes > place_bytes(disk)) co_return content;
    content.resize(static_cast<std::size_t>(found.head.packed_bytes));
    for (std::size_t done = 0; done < content.size(); done += piece_bytes) {
        const std::size_t size = std::min(piece_bytes, content.size() - done);
        co_await disk.read(content_at(disk, found.place) + done,
                           std::span(content).subspan(done, size));
    }
    co_return content;
}

/// Nothing when it is not what its head says.
std::optional<std::string> text_of(const DatabaseHead& head, const std::string& content) {
    if (sha256_hex(content) != head.digest) return std::nullopt;
    auto text = zlib_unpacked(content, database_text_bytes_max);
    if (text && text->size() != head.text_bytes) return std::nullopt;
    return text;
}

}  // namespace

std::string head_text(const DatabaseHead& head) {
    std::string out(format_line);
    const auto line = [&out](std::string_view name, const std::string& value) {
        ((out += name) += ' ') += value + "\n";
    };
    line("sequence", std::to_string(head.sequence));
    line("generation", std::to_string(head.generation));
    line("pool", head.pool);
    line("made", std::to_string(head.made_seconds));
    line("packed", std::to_string(head.packed_bytes));
    line("text", std::to_string(head.text_bytes));
    line("digest", head.digest);
    line("sum", sha256_hex(out));
    out.resize(head_bytes, '\0');
    return out;
}

std::optional<DatabaseHead> parse_head(std::string_view block) {
    const std::string_view text = block.substr(0, block.find('\0'));
    if (!text.starts_with(format_line)) return std::nullopt;
    const std::size_t sum_at = text.rfind(sum_name);
    if (sum_at == std::string_view::npos) return std::nullopt;
    const std::string_view summed = text.substr(0, sum_at);
    if (text.substr(sum_at) != std::string(sum_name) + sha256_hex(summed) + "\n")
        return std::nullopt;
    const auto lines = lines_of(summed);
    DatabaseHead head;
    const bool numbers = take_number(lines, "sequence", head.sequence) &&
                         take_number(lines, "generation", head.generation) &&
                         take_number(lines, "made", head.made_seconds) &&
                         take_number(lines, "packed", head.packed_bytes) &&
                         take_number(lines, "text", head.text_bytes);
    if (!numbers || !lines.contains("pool") || !lines.contains("digest")) return std::nullopt;
    head.pool = lines.at("pool");
    head.digest = lines.at("digest");
    // It becomes an answer to a client: a disk may come from anybody.
    if (!Uuid::parse(head.pool)) return std::nullopt;
    return head;
}

PackedDatabase pack_database(std::string_view text) {
    PackedDatabase out;
    out.content = zlib_packed(text);
    out.head.text_bytes = text.size();
    out.head.packed_bytes = out.content.size();
    out.head.digest = sha256_hex(out.content);
    return out;
}

Task<void> write_database(BlockDisk& disk, PackedDatabase database) {
    std::string& content = database.content;
    // Whole blocks: some disks take nothing else.
    content.resize((content.size() + head_bytes - 1) / head_bytes * head_bytes, '\0');
    if (content.size() > place_bytes(disk))
        throw err::internal_error("the disk is too small for a copy of the database: " +
                                  std::to_string(content.size()) + " bytes");
    const std::vector<Found> before = co_await copies_on(disk);
    const std::size_t place = before.empty() ? 0 : (before.front().place + 1) % places;
    database.head.sequence = before.empty() ? 1 : before.front().head.sequence + 1;
    for (std::size_t done = 0; done < content.size(); done += piece_bytes)
        co_await disk.write(content_at(disk, place) + done,
                            std::string_view(content).substr(done, piece_bytes));
    co_await disk.flush();
    const std::string block = head_text(database.head);
    co_await disk.write(place * head_bytes, block);
    co_await disk.flush();
}

Task<std::optional<DatabaseHead>> read_database_head(BlockDisk& disk) {
    const std::vector<Found> found = co_await copies_on(disk);
    if (found.empty()) co_return std::nullopt;
    co_return found.front().head;
}

Task<std::string> read_database(Loop& loop, BlockDisk& disk) {
    const std::vector<Found> found = co_await copies_on(disk);
    for (const Found& one : found) {
        std::string content = co_await content_of(disk, one);
        auto text = co_await blocking(loop, [head = one.head, content = std::move(content)] {
            return text_of(head, content);
        });
        if (text) co_return *std::move(text);
    }
    throw err::internal_error(found.empty() ? "there is no database on the disk"
                                            : "no copy of the database on the disk is whole");
}

}  // namespace basalt::domain
