#include "host-agent/images/nbd_images.hpp"

#include <boost/system/system_error.hpp>
#include <charconv>
#include <format>

#include "base/nbd.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

namespace {

constexpr std::size_t header_bytes = 4096;
constexpr std::size_t chunk_bytes = std::size_t{1024} * 1024;
constexpr std::string_view magic = "BASALT-SUSPEND 1 ";

// The other side must not wait for one that has gone, however it went.
class Closing {
  public:
    explicit Closing(FdStream& stream) : stream_(stream) {}

    Closing(const Closing&) = delete;
    Closing& operator=(const Closing&) = delete;

    ~Closing() { stream_.close(); }

  private:
    FdStream& stream_;
};

struct Pump {
    nbd::Client* disk = nullptr;
    std::unique_ptr<FdStream> stream;
    std::uint64_t length = 0;
};

Task<std::unique_ptr<nbd::Client>> connect(RealLoop& loop, const hv::DiskAttachment& disk) {
    std::unique_ptr<FdStream> stream = co_await connect_unix(loop, disk.nbd_socket);
    co_return co_await nbd::Client::open(std::move(stream), disk.nbd_export);
}

// Reads until the chunk is full or the stream ends.
Task<std::size_t> fill_chunk(FdStream& stream, std::span<char> chunk) {
    std::size_t filled = 0;
    while (filled < chunk.size()) {
        const std::size_t got = co_await stream.read_some(chunk.subspan(filled));
        if (got == 0) break;
        filled += got;
    }
    co_return filled;
}

Task<void> pump_in(std::shared_ptr<Pump> pump) {
    const Closing closing(*pump->stream);
    std::vector<char> chunk(chunk_bytes);
    for (;;) {
        const std::size_t filled = co_await fill_chunk(*pump->stream, chunk);
        if (filled == 0) co_return;
        if (header_bytes + pump->length + filled > pump->disk->size_bytes())
            throw err::internal_error("the suspend disk is too small");
        co_await pump->disk->write(header_bytes + pump->length, {chunk.data(), filled});
        pump->length += filled;
    }
}

Task<void> pump_out(std::shared_ptr<Pump> pump) {
    const Closing closing(*pump->stream);
    std::vector<char> chunk(chunk_bytes);
    for (std::uint64_t done = 0; done < pump->length;) {
        const std::size_t part = std::min<std::uint64_t>(chunk.size(), pump->length - done);
        co_await pump->disk->read(header_bytes + done, std::span(chunk).first(part));
        try {
            co_await pump->stream->write({chunk.data(), part});
        } catch (const boost::system::system_error&) {
            co_return;  // the reader has what it wanted, or says itself why not
        }
        done += part;
    }
}

std::uint64_t parse_header_or_throw(std::string_view block) {
    std::uint64_t length = 0;
    if (block.starts_with(magic)) {
        const std::string_view digits = block.substr(magic.size());
        const auto [end, problem] =
            std::from_chars(digits.data(), digits.data() + digits.size(), length);
        if (problem == std::errc() && *end == '\n') return length;
    }
    throw err::internal_error("the disk holds no suspend image");
}

}  // namespace

Task<void> NbdImages::store(hv::DiskAttachment disk, Use fill) {
    const std::unique_ptr<nbd::Client> store = co_await connect(loop_, disk);
    std::string header(header_bytes, '\0');
    co_await store->write(0, header);
    auto [ours, theirs] = socket_pair();
    const auto pump = std::make_shared<Pump>();
    pump->disk = store.get();
    pump->stream = adopt_stream(loop_, std::move(ours));
    std::vector<Task<void>> both;
    both.push_back(pump_in(pump));  // first: its failure is the cause of the other's
    both.push_back(fill(std::move(theirs)));
    co_await all(loop_, std::move(both));
    co_await store->flush();
    const std::string line = std::format("{}{}\n", magic, pump->length);
    header.replace(0, line.size(), line);
    co_await store->write(0, header);
    co_await store->flush();
}

Task<void> NbdImages::load(hv::DiskAttachment disk, Use drain) {
    const std::unique_ptr<nbd::Client> store = co_await connect(loop_, disk);
    std::string header(header_bytes, '\0');
    co_await store->read(0, header);
    const auto pump = std::make_shared<Pump>();
    pump->disk = store.get();
    pump->length = parse_header_or_throw(header);
    auto [ours, theirs] = socket_pair();
    pump->stream = adopt_stream(loop_, std::move(ours));
    std::vector<Task<void>> both;
    both.push_back(pump_out(pump));
    both.push_back(drain(std::move(theirs)));
    co_await all(loop_, std::move(both));
}

}  // namespace basalt::agent
