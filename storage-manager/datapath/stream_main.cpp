// Pumps the bytes of one disk, so that hostd's loop does not. Descriptor 3 is the disk (a connected
// NBD socket, or a file), descriptor 4 the stream. Whoever started it tells the other side of the
// stream how it ended, from the exit status: 0 done, 3 the stream is longer than the disk, 1
// anything else with a line on standard error.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "storage-manager/datapath/nbd_client.hpp"

namespace {

using basalt::UniqueFd;
namespace nbd = basalt::sm::nbd;

constexpr int disk = 3;
constexpr int stream = 4;
constexpr int exit_too_long = 3;

void announce(std::uint64_t size_bytes) {
    const std::string line = "{\"size\":" + std::to_string(size_bytes) + "}\n";
    nbd::write_full(stream, line);
}

int send_disk() {
    nbd::Client client(UniqueFd(disk), "disk");
    announce(client.size_bytes());
    std::vector<char> buffer(nbd::request_bytes_max);
    for (std::uint64_t at = 0; at < client.size_bytes();) {
        const auto part = std::min<std::uint64_t>(buffer.size(), client.size_bytes() - at);
        client.read({buffer.data(), part}, at);
        nbd::write_full(stream, {buffer.data(), part});
        at += part;
    }
    client.disconnect();
    return 0;
}

int send_file() {
    struct stat facts{};
    if (fstat(disk, &facts) != 0) return 1;
    announce(static_cast<std::uint64_t>(facts.st_size));
    std::vector<char> buffer(nbd::request_bytes_max);
    while (const std::size_t got = nbd::read_full(disk, buffer))
        nbd::write_full(stream, {buffer.data(), got});
    return 0;
}

bool is_zero(const char* bytes, std::size_t size) {
    return size == 0 || (bytes[0] == 0 && std::memcmp(bytes, bytes + 1, size - 1) == 0);
}

int receive_disk() {
    nbd::Client client(UniqueFd(disk), "disk");
    std::vector<char> buffer(nbd::request_bytes_max);
    std::uint64_t at = 0;
    while (const std::size_t got = nbd::read_full(stream, buffer)) {
        if (at + got > client.size_bytes()) return exit_too_long;
        // A stream may end inside a sector; the rest of that sector keeps what it had.
        if (is_zero(buffer.data(), got)) {
            client.write_zeroes(got, at);
        } else {
            client.write({buffer.data(), got}, at);
        }
        at += got;
    }
    client.flush();
    client.disconnect();
    return 0;
}

int receive_file() {
    std::vector<char> buffer(nbd::request_bytes_max);
    while (const std::size_t got = nbd::read_full(stream, buffer))
        nbd::write_full(disk, {buffer.data(), got});
    return fsync(disk) == 0 ? 0 : 1;
}

int run(const std::string& mode) {
    if (mode == "send-disk") return send_disk();
    if (mode == "send-file") return send_file();
    if (mode == "receive-disk") return receive_disk();
    if (mode == "receive-file") return receive_file();
    std::fputs("usage: sm-stream send-disk|send-file|receive-disk|receive-file\n", stderr);
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);
    for (const int fd : {disk, stream})  // whoever had them before may have made them non-blocking
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    try {
        return run(argc == 2 ? argv[1] : "");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
