#include "hypervisor/xen/beginning.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <span>

#include "base/fd.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds patience{60};
constexpr int pause_ms = 10;
// libxl_sr_stream_format.h: a name, a version and options, all of it big-endian; and the head of
// the first record, which says that the helper's part follows.
constexpr std::array<unsigned char, 12> name_and_version = {'L', 'i', 'b', 'x', 'l', 'F',
                                                            'm', 't', 0,   0,   0,   2};
constexpr std::size_t record_at = 16;
constexpr std::array<unsigned char, 4> helpers_record = {1, 0, 0, 0};
constexpr std::size_t beginning_bytes = record_at + 8;

using Beginning = std::array<unsigned char, beginning_bytes>;

// What is there is doubled into another pipe.
ssize_t look_into_pipe(int source, Beginning& into) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return -1;
    const UniqueFd from(ends[0]);
    const UniqueFd to(ends[1]);
    const ssize_t doubled = ::tee(source, to.get(), into.size(), SPLICE_F_NONBLOCK);
    return doubled > 0 ? ::read(from.get(), into.data(), static_cast<std::size_t>(doubled))
                       : doubled;
}

ssize_t look(int source, Beginning& into) {
    const ssize_t peeked = ::recv(source, into.data(), into.size(), MSG_PEEK | MSG_DONTWAIT);
    if (peeked >= 0 || errno != ENOTSOCK) return peeked;
    const off_t at = ::lseek(source, 0, SEEK_CUR);
    if (at < 0) return look_into_pipe(source, into);
    return ::pread(source, into.data(), into.size(), at);
}

bool is_whole(ssize_t got) {
    return got == static_cast<ssize_t>(beginning_bytes);
}

// Whether nobody will send more. A file is always ready, and has all that it will have.
bool has_ended(int source) {
    pollfd ready{.fd = source, .events = POLLIN | POLLRDHUP, .revents = 0};
    ::poll(&ready, 1, pause_ms);
    return (ready.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0 ||
           ::lseek(source, 0, SEEK_CUR) >= 0;
}

bool begins_well(const Beginning& beginning) {
    return std::ranges::equal(name_and_version,
                              std::span(beginning).first<name_and_version.size()>()) &&
           std::ranges::equal(helpers_record,
                              std::span(beginning).subspan<record_at, helpers_record.size()>());
}

}  // namespace

void require_saved_guest(int source) {
    const auto deadline = steady_clock::now() + patience;
    Beginning beginning{};
    ssize_t got = 0;
    bool more = true;
    while (!is_whole(got) && more) {
        more = !has_ended(source) && steady_clock::now() < deadline;
        got = look(source, beginning);
    }
    if (!is_whole(got) || !begins_well(beginning))
        throw err::internal_error("restore: these are no bytes of a saved guest");
}

}  // namespace basalt::hv::xen
