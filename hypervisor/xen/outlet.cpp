#include "hypervisor/xen/outlet.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

constexpr std::size_t piece_bytes = std::size_t{1} << 18;
// Far more than what libxl writes by itself, before its helper does; far less than any guest has.
constexpr std::size_t beginning_bytes = std::size_t{1} << 20;

// errno, or 0.
int write_all(int sink, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::write(sink, bytes.data(), bytes.size());
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return errno;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return 0;
}

}  // namespace

Outlet::Outlet(int sink) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
        throw err::internal_error(std::string("save: ") + std::strerror(errno));
    UniqueFd from(ends[0]);
    end_ = UniqueFd(ends[1]);
    thread_ = std::thread(
        [this, sink, from = std::move(from)]() mutable { pass_on(sink, std::move(from)); });
}

Outlet::~Outlet() {
    finish();
}

int Outlet::finish() {
    end_.reset();
    if (thread_.joinable()) thread_.join();
    return failed_;
}

void Outlet::pass_on(int sink, UniqueFd from) {
    std::vector<char> piece(piece_bytes);
    std::size_t taken = 0;
    while (failed_ == 0 || taken < beginning_bytes) {
        const ssize_t got = ::read(from.get(), piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return;
        taken += static_cast<std::size_t>(got);
        if (failed_ == 0) failed_ = write_all(sink, {piece.data(), static_cast<std::size_t>(got)});
    }
}

}  // namespace basalt::hv::xen
