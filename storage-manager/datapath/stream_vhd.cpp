#include <algorithm>
#include <exception>
#include <set>
#include <stdexcept>
#include <string>

#include "base/real_net.hpp"
#include "storage-manager/datapath/stream_parts.hpp"
#include "storage-manager/datapath/vhd.hpp"

namespace basalt::sm::streams {

namespace {

constexpr std::int64_t seconds_1970_to_2000 = 946684800;
constexpr std::size_t piece_bytes = nbd::request_bytes_max;

std::vector<std::uint64_t> touched_blocks(std::uint64_t disk_bytes) {
    std::set<std::uint64_t> blocks;
    for (const Range& range : read_ranges(disk_bytes))
        for (std::uint64_t at = range.offset / vhd::block_bytes * vhd::block_bytes;
             at < range.offset + range.length; at += vhd::block_bytes)
            blocks.insert(at / vhd::block_bytes);
    return {blocks.begin(), blocks.end()};
}

/// All sectors of the block that the disk has.
std::string bitmap_of(std::uint64_t bytes) {
    std::string bitmap(vhd::bitmap_bytes, '\0');
    for (std::uint64_t sector = 0; sector * vhd::sector_bytes < bytes; ++sector)
        bitmap[sector / 8] = static_cast<char>(static_cast<unsigned char>(bitmap[sector / 8]) |
                                               (0x80U >> (sector % 8)));
    return bitmap;
}

/// A stream that knows how far it has been read.
class Reader {
  public:
    explicit Reader(Stream& in) : in_(in) {}

    [[nodiscard]] std::uint64_t at() const { return at_; }

    Task<std::size_t> some(std::span<char> buffer) {
        const std::size_t got = co_await read_full(in_, buffer);
        at_ += got;
        co_return got;
    }

    Task<std::string> exactly(std::size_t count) {
        std::string out(count, '\0');
        if (co_await some(out) < count) throw std::invalid_argument("the VHD image is cut off");
        co_return out;
    }

    Task<void> forward_to(std::uint64_t place) {
        if (place < at_) throw std::invalid_argument("the VHD image is in an impossible order");
        std::string nowhere;
        while (at_ < place) {
            nowhere.resize(
                static_cast<std::size_t>(std::min<std::uint64_t>(place - at_, piece_bytes)));
            if (co_await some(nowhere) < nowhere.size())
                throw std::invalid_argument("the VHD image is cut off");
        }
    }

  private:
    Stream& in_;
    std::uint64_t at_ = 0;
};

Task<void> put_all(nbd::Client& to, std::uint64_t at, std::string_view bytes) {
    while (!bytes.empty()) {
        co_await put(to, at, bytes.substr(0, piece_bytes));
        at += std::min(bytes.size(), piece_bytes);
        bytes.remove_prefix(std::min(bytes.size(), piece_bytes));
    }
}

Task<void> zero(nbd::Client& to, std::uint64_t from, std::uint64_t end) {
    constexpr std::uint64_t request_max = std::uint64_t{1} << 30;
    for (std::uint64_t at = from; at < end; at += request_max)
        co_await to.write_zeroes(at, static_cast<std::uint32_t>(std::min(request_max, end - at)));
}

/// The bytes of a fixed image are those of the disk, and the footer comes last: so much is always
/// held back.
Task<int> receive_fixed(Reader& in, nbd::Client& to, std::string held) {
    std::uint64_t at = 0;
    for (;;) {
        const std::size_t before = held.size();
        held.resize(before + piece_bytes);
        const std::size_t got = co_await in.some(std::span(held).subspan(before));
        held.resize(before + got);
        const std::size_t whole = held.size() - vhd::footer_bytes;
        if (got == 0) break;
        if (at + whole > to.size_bytes()) co_return exit_too_long;
        co_await put_all(to, at, std::string_view(held).substr(0, whole));
        at += whole;
        held.erase(0, whole);
    }
    const vhd::Footer footer = vhd::parse_footer(held);
    if (footer.type != vhd::Type::fixed || footer.size_bytes != at)
        throw std::invalid_argument("the VHD image is not as long as it says");
    co_return 0;
}

/// One block's sectors; those that it does not hold become zeros, or stay in a difference. Of a
/// stream that breaks off, what has come is written.
Task<void> take_block(Reader& in, nbd::Client& to, const vhd::Header& header, vhd::Place place,
                      const vhd::Footer& footer) {
    co_await in.forward_to(place.at);
    const std::string bitmap = co_await in.exactly(static_cast<std::size_t>(header.bitmap_bytes()));
    std::string data(header.block_bytes, '\0');
    const std::size_t got = co_await in.some(data);
    const std::uint64_t start = place.number * header.block_bytes;
    if (start >= footer.size_bytes) co_return;
    const std::uint64_t length =
        std::min<std::uint64_t>(header.block_bytes, footer.size_bytes - start);
    std::uint64_t done = 0;
    for (const vhd::Run& run : vhd::runs_of(bitmap, length / vhd::sector_bytes)) {
        const std::uint64_t at = run.first * vhd::sector_bytes;
        const std::uint64_t count =
            std::min(run.count * vhd::sector_bytes, got > at ? got - at : 0);
        if (footer.type == vhd::Type::dynamic) co_await zero(to, start + done, start + at);
        co_await put_all(to, start + at, std::string_view(data).substr(at, count));
        done = at + count;
    }
    if (got < data.size()) throw std::invalid_argument("the VHD image is cut off");
    if (footer.type == vhd::Type::dynamic) co_await zero(to, start + done, start + length);
}

Task<int> receive_sparse(Reader& in, nbd::Client& to, std::string_view first) {
    const vhd::Footer footer = vhd::parse_footer(first);
    if (footer.type == vhd::Type::fixed)
        throw std::invalid_argument("the VHD image begins with the footer of a fixed one");
    if (footer.size_bytes > to.size_bytes()) co_return exit_too_long;
    co_await in.forward_to(footer.header_at);
    const vhd::Header header = vhd::parse_header(co_await in.exactly(vhd::header_bytes), footer);
    co_await in.forward_to(header.table_at);
    const std::string table =
        co_await in.exactly(std::size_t{header.entries} * sizeof(std::uint32_t));
    std::uint64_t next = 0;  // the first block of the disk that is not dealt with yet
    std::vector<vhd::Place> places = vhd::places_of(table, header, in.at());
    for (const vhd::Place& place : places)
        co_await take_block(in, to, header, place, footer);
    if (footer.type == vhd::Type::differencing) co_return 0;
    std::ranges::sort(places, {}, &vhd::Place::number);
    for (const vhd::Place& place : places) {
        co_await zero(to, next, std::min(place.number * header.block_bytes, to.size_bytes()));
        next = (place.number + 1) * header.block_bytes;
    }
    co_await zero(to, next, to.size_bytes());
    co_return 0;
}

Task<int> receive(Reader& in, nbd::Client& to) {
    std::string first = co_await in.exactly(vhd::footer_bytes);
    const bool sparse = vhd::is_footer(first);
    const int status = sparse ? co_await receive_sparse(in, to, first)
                              : co_await receive_fixed(in, to, std::move(first));
    if (status != 0) co_return status;
    // What follows is of no use, but whoever sends it waits until it is taken.
    std::string rest(piece_bytes, '\0');
    while (co_await in.some(rest) > 0) {
    }
    co_return 0;
}

}  // namespace

Task<int> send_vhd(RealLoop& loop, std::string_view id, std::string_view parent) {
    const auto from = co_await open_disk(loop, disk);
    const auto out = adopt_stream(loop, UniqueFd(stream));
    vhd::Image image;
    image.type = parent.empty() ? vhd::Type::dynamic : vhd::Type::differencing;
    image.size_bytes = from->size_bytes();
    image.id = Uuid::parse(id).value_or(Uuid{});
    image.parent = Uuid::parse(parent).value_or(Uuid{});
    image.timestamp = static_cast<std::uint32_t>(
        std::max<std::int64_t>(loop.wall_ns() / 1'000'000'000 - seconds_1970_to_2000, 0));
    image.blocks = touched_blocks(image.size_bytes);
    co_await announce(*out, vhd::stream_bytes(image));
    const std::string head = vhd::head_text(image);
    co_await out->write(head);
    std::string block;
    for (const std::uint64_t number : image.blocks) {
        const std::uint64_t start = number * vhd::block_bytes;
        const std::uint64_t length =
            std::min<std::uint64_t>(vhd::block_bytes, image.size_bytes - start);
        block = bitmap_of(length);
        block.resize(static_cast<std::size_t>(vhd::bitmap_bytes + vhd::block_bytes), '\0');
        for (std::uint64_t at = 0; at < length; at += piece_bytes)
            co_await from->read(
                start + at,
                std::span(block).subspan(
                    static_cast<std::size_t>(vhd::bitmap_bytes + at),
                    static_cast<std::size_t>(std::min<std::uint64_t>(piece_bytes, length - at))));
        co_await out->write(block);
    }
    const std::string footer = vhd::footer_text(image);
    co_await out->write(footer);
    co_await from->disconnect();
    co_return 0;
}

Task<int> receive_vhd(RealLoop& loop) {
    const auto to = co_await open_disk(loop, disk);
    const auto source = adopt_stream(loop, UniqueFd(stream));
    Reader in(*source);
    int status = 0;
    std::exception_ptr failure;
    try {
        status = co_await receive(in, *to);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    // What has come is kept, also of a stream that broke off.
    co_await to->flush();
    co_await to->disconnect();
    if (failure) std::rethrow_exception(failure);
    co_return status;
}

}  // namespace basalt::sm::streams
