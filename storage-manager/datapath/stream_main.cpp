// Pumps the bytes of one disk, so that hostd's loop does not. Descriptor 3 is the disk (a connected
// NBD socket, or a file), descriptor 4 the stream. Whoever started it tells the other side of the
// stream how it ended, from the exit status: 0 done, 3 the stream is longer than the disk, 1
// anything else with a line on standard error.
//
// `send-vhd` and `receive-vhd` speak a format of images; the former is told by standard input which
// ranges the image holds.
//
// `copy-ranges` copies between two disks, 3 and 4, the ranges that standard input lists, and prints
// its progress as qemu-img does.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/nbd.hpp"
#include "base/real_net.hpp"
#include "base/wait.hpp"
#include "storage-manager/datapath/stream_parts.hpp"

namespace {

using namespace basalt;
using namespace basalt::sm::streams;

Task<int> send_disk(RealLoop& loop, std::string_view version) {
    const auto client = co_await open_disk(loop, disk);
    const auto out = adopt_stream(loop, UniqueFd(stream));
    co_await announce(*out, client->size_bytes(), version);
    std::uint64_t at = 0;
    const auto fill = [&](std::span<char> buffer) -> Task<std::size_t> {
        const auto part = std::min<std::uint64_t>(buffer.size(), client->size_bytes() - at);
        if (part > 0) co_await client->read(std::exchange(at, at + part), buffer.first(part));
        co_return part;
    };
    co_await overlap(loop, fill, [&](std::string_view bytes) { return out->write(bytes); });
    co_await client->disconnect();
    co_return 0;
}

// A file cannot be waited for, and this process has nothing else to do than to wait for it.
Task<int> send_file(RealLoop& loop) {
    struct stat facts{};
    if (fstat(disk, &facts) != 0) co_return 1;
    const auto out = adopt_stream(loop, UniqueFd(stream));
    co_await announce(*out, static_cast<std::uint64_t>(facts.st_size));
    std::vector<char> buffer(nbd::request_bytes_max);
    for (;;) {
        const ssize_t got = ::read(disk, buffer.data(), buffer.size());
        if (got < 0) co_return 1;
        if (got == 0) co_return 0;
        co_await out->write({buffer.data(), static_cast<std::size_t>(got)});
    }
}

Task<int> receive_disk(RealLoop& loop) {
    const auto client = co_await open_disk(loop, disk);
    const auto in = adopt_stream(loop, UniqueFd(stream));
    std::uint64_t taken = 0;
    bool too_long = false;
    const auto fill = [&](std::span<char> buffer) -> Task<std::size_t> {
        const std::size_t got = co_await read_full(*in, buffer);
        too_long = got > client->size_bytes() - taken;
        if (too_long) co_return 0;
        taken += got;
        co_return got;
    };
    std::uint64_t at = 0;
    // A stream may end inside a sector; the rest of that sector keeps what it had.
    const auto drain = [&](std::string_view bytes) {
        return put(*client, std::exchange(at, at + bytes.size()), bytes);
    };
    co_await overlap(loop, fill, drain);
    if (too_long) co_return exit_too_long;
    co_await client->flush();
    co_await client->disconnect();
    co_return 0;
}

bool write_file(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::write(disk, bytes.data(), bytes.size());
        if (sent < 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

Task<int> receive_file(RealLoop& loop) {
    const auto in = adopt_stream(loop, UniqueFd(stream));
    std::vector<char> buffer(nbd::request_bytes_max);
    while (const std::size_t got = co_await read_full(*in, buffer))
        if (!write_file({buffer.data(), got})) co_return 1;
    co_return fsync(disk) == 0 ? 0 : 1;
}

Task<int> copy_ranges(RealLoop& loop) {
    const auto from = co_await open_disk(loop, disk);
    const auto to = co_await open_disk(loop, stream);
    const std::vector<Range> ranges = read_ranges(from->size_bytes());
    double total = 0;
    for (const Range& range : ranges)
        total += static_cast<double>(range.length);
    double done = 0;
    for (const Range& range : ranges) {
        if (range.offset + range.length > to->size_bytes()) co_return exit_too_long;
        std::uint64_t read = range.offset;
        const std::uint64_t end = range.offset + range.length;
        const auto fill = [&](std::span<char> buffer) -> Task<std::size_t> {
            const auto part = std::min<std::uint64_t>(buffer.size(), end - read);
            if (part > 0) co_await from->read(std::exchange(read, read + part), buffer.first(part));
            co_return part;
        };
        std::uint64_t written = range.offset;
        const auto drain = [&](std::string_view bytes) -> Task<void> {
            co_await put(*to, std::exchange(written, written + bytes.size()), bytes);
            done += static_cast<double>(bytes.size());
            std::printf("    (%.2f/100%%)\r", 100 * done / total);
            std::fflush(stdout);
        };
        co_await overlap(loop, fill, drain);
    }
    co_await to->flush();
    co_await to->disconnect();
    co_await from->disconnect();
    std::printf("    (100.00/100%%)\r");
    co_return 0;
}

Task<int> run(RealLoop& loop, const std::vector<std::string>& words) {
    const std::string mode = words.empty() ? std::string() : words[0];
    const auto word = [&words](std::size_t i) {
        return i < words.size() ? std::string_view(words[i]) : std::string_view();
    };
    if (mode == "send-disk") return send_disk(loop, word(1));
    if (mode == "send-file") return send_file(loop);
    if (mode == "receive-disk") return receive_disk(loop);
    if (mode == "receive-file") return receive_file(loop);
    if (mode == "copy-ranges") return copy_ranges(loop);
    if (mode == "send-vhd") return send_vhd(loop, word(1), word(2));
    if (mode == "receive-vhd") return receive_vhd(loop);
    throw std::invalid_argument(
        "usage: sm-stream send-disk [VERSION]|send-file|send-vhd ID [PARENT]|receive-disk|"
        "receive-file|receive-vhd|copy-ranges");
}

Task<void> take_status(RealLoop& loop, Task<int> body, int& status) {
    try {
        status = co_await std::move(body);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
    }
    loop.stop();
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    int status = 1;
    try {
        RealLoop loop;
        spawn(loop, "transfer", take_status(loop, run(loop, words), status));
        loop.run();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
    return status;
}
