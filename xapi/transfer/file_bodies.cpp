#include "xapi/transfer/file_bodies.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/wait.hpp"
#include "idl/errors.hpp"

namespace basalt::transfer {

namespace {

constexpr std::size_t piece_bytes = std::size_t{1} << 20;

std::string read_piece(int file) {
    std::string bytes(piece_bytes, '\0');
    const ssize_t got = ::read(file, bytes.data(), bytes.size());
    if (got <= 0) throw_errno("read");
    bytes.resize(static_cast<std::size_t>(got));
    return bytes;
}

void write_all(int file, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::write(file, bytes.data(), bytes.size());
        if (sent < 0) throw_errno("write");
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
}

}  // namespace

void throw_errno(const std::string& path) {
    if (errno == ENOSPC) throw err::out_of_space(path);
    throw err::internal_error(path + ": " + std::strerror(errno));
}

std::uint64_t size_of(const UniqueFd& file) {
    struct stat facts{};
    if (::fstat(file.get(), &facts) != 0) throw_errno("stat");
    return static_cast<std::uint64_t>(facts.st_size);
}

Task<void> send_file(server::Exchange& exchange, Loop& loop, File file, std::uint64_t bytes,
                     std::function<void(std::uint64_t)> sent) {
    for (std::uint64_t done = 0; done < bytes;) {
        const std::string piece =
            co_await blocking(loop, [file] { return read_piece(file->get()); });
        co_await exchange.write(piece);
        done += piece.size();
        if (sent) sent(done);
    }
}

Task<std::uint64_t> receive_file(server::Exchange& exchange, Loop& loop, File file,
                                 std::uint64_t bytes_max, ApiError too_large) {
    std::uint64_t total = 0;
    std::array<char, 65536> buffer{};
    std::string piece;
    for (bool more = true; more;) {
        const std::size_t got = co_await exchange.read_body(buffer);
        more = got > 0;
        piece.append(buffer.data(), got);
        total += got;
        if (total > bytes_max) throw too_large;
        if (more && piece.size() < piece_bytes) continue;
        co_await blocking(
            loop, [file, bytes = std::exchange(piece, {})] { write_all(file->get(), bytes); });
    }
    co_return total;
}

}  // namespace basalt::transfer
