#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/loop.hpp"
#include "xapi/rpc/connection.hpp"

/// Files of this host as bodies of requests and answers. The disk is waited for on pool threads.
namespace basalt::transfer {

using File = std::shared_ptr<UniqueFd>;

/// OUT_OF_SPACE when the disk is full, else INTERNAL_ERROR with what errno says.
[[noreturn]] void throw_errno(const std::string& path);

/// Blocks. Throws as throw_errno.
std::uint64_t size_of(const UniqueFd& file);

/// Sends so many bytes, from where the file stands; `sent` hears of each piece how many are sent.
Task<void> send_file(server::Exchange& exchange, Loop& loop, File file, std::uint64_t bytes,
                     std::function<void(std::uint64_t)> sent);

/// The request's body into a file; how many bytes it had. Throws `too_large` when they are more
/// than `bytes_max`.
Task<std::uint64_t> receive_file(server::Exchange& exchange, Loop& loop, File file,
                                 std::uint64_t bytes_max, ApiError too_large);

}  // namespace basalt::transfer
