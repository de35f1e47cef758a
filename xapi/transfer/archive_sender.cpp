#include "xapi/transfer/archive_sender.hpp"

#include <algorithm>
#include <format>

#include "base/wait.hpp"
#include "xapi/core/core.hpp"
#include "xapi/transfer/uploads.hpp"

namespace basalt::transfer {

namespace {

constexpr std::size_t chunk_bytes = std::size_t{1} << 20;
static_assert(chunk_bytes <= nbd::request_bytes_max);
/// Clients and proxies take a connection that is silent for long for a dead one.
constexpr Duration silence_max = 5s;

Task<void> read(nbd::Client& from, std::uint64_t at, std::string& into) {
    return from.read(at, into);
}

}  // namespace

ArchiveSender::ArchiveSender(server::Exchange& exchange, Call& call, Compression compression,
                             std::uint64_t total_bytes)
    : exchange_(exchange),
      call_(call),
      loop_(call.core().loop),
      writer_(std::make_shared<ArchiveWriter>(compression)),
      total_bytes_(std::max<std::uint64_t>(total_bytes, 1)),
      last_output_(loop_.now()) {}

Task<void> ArchiveSender::file(std::string name, std::string content) {
    co_await send(co_await blocking(
        loop_, [writer = writer_, name = std::move(name), content = std::move(content)] {
            writer->add(name, content);
            return writer->take();
        }));
}

Task<void> ArchiveSender::finish() {
    co_await send(co_await blocking(loop_, [writer = writer_] {
        writer->finish();
        return writer->take();
    }));
}

Task<void> ArchiveSender::send(std::string bytes) {
    if (bytes.empty()) co_return;
    throw_if_cancelled(call_);
    co_await exchange_.write(bytes);
    last_output_ = loop_.now();
}

Task<void> ArchiveSender::put(std::shared_ptr<Chunk> chunk) {
    co_await send(co_await blocking(loop_, [writer = writer_, chunk]() -> std::string {
        if (!chunk->needed && is_zero(chunk->content)) return {};
        writer->add_chunk(chunk->name, chunk->content);
        return writer->take();
    }));
}

/// One chunk is read while the one before it is packed and sent.
Task<void> ArchiveSender::disk(std::string folder, std::unique_ptr<nbd::Client> from,
                               std::uint64_t size_bytes) {
    auto ready = std::make_shared<Chunk>();
    std::uint64_t number = 0;
    for (std::uint64_t at = 0; at < size_bytes; at += chunk_bytes, ++number) {
        const auto part =
            static_cast<std::size_t>(std::min<std::uint64_t>(chunk_bytes, size_bytes - at));
        auto next = std::make_shared<Chunk>();
        next->content.resize(part);
        std::vector<Task<void>> both;
        both.push_back(read(*from, at, next->content));
        both.push_back(put(ready));
        co_await all(loop_, std::move(both));
        if (loop_.now() - last_output_ > silence_max) {
            // An empty chunk takes a number and no room on the disk.
            co_await put(
                std::make_shared<Chunk>(Chunk{std::format("{}/{:08}", folder, number), "", true}));
            ++number;
        }
        next->name = std::format("{}/{:08}", folder, number);
        next->needed = at == 0 || at + part == size_bytes;
        ready = std::move(next);
        done_bytes_ += part;
        throw_if_cancelled(call_);
        call_.progress(static_cast<double>(done_bytes_) / static_cast<double>(total_bytes_));
    }
    co_await put(std::move(ready));
    co_await from->disconnect();
}

}  // namespace basalt::transfer
