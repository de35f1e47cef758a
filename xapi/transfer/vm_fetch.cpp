// VMs into here from a web server: VM.import.
#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/encoding.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "xapi/transfer/archive_reader.hpp"
#include "xapi/transfer/uploads.hpp"
#include "xapi/transfer/vm_streams.hpp"
#include "xapi/transfer/web_address.hpp"

namespace basalt::transfer {

namespace {

using xenapi::Ref;

constexpr std::size_t head_bytes_max = std::size_t{16} * 1024;
constexpr int redirects_max = 5;
constexpr Duration answer_limit = 60s;

/// HTTP/1.0: the body is then the rest of the stream, never in chunks.
std::string request_to(const WebAddress& address) {
    std::string out = "GET " + address.target + " HTTP/1.0\r\nHost: " + address.host_header +
                      "\r\nAccept: */*\r\nConnection: close\r\n";
    if (!address.user.empty()) out += "Authorization: Basic " + base64(address.user) + "\r\n";
    return out + "\r\n";
}

struct Answer {
    int status = 0;
    std::string location;
    std::optional<std::uint64_t> length;
};

Answer parse_answer(std::string_view head) {
    Answer out;
    const std::size_t space = head.find(' ');
    if (!head.starts_with("HTTP/1.") || space == std::string_view::npos)
        throw err::import_error("the server does not speak HTTP");
    std::from_chars(head.data() + space + 1, head.data() + head.size(), out.status);
    std::size_t at = head.find("\r\n");
    while (at != std::string_view::npos && at + 2 < head.size()) {
        const std::size_t end = std::min(head.find("\r\n", at + 2), head.size());
        const std::string line(head.substr(at + 2, end - at - 2));
        const std::size_t colon = line.find(':');
        if (colon != std::string::npos) {
            const std::string name = ascii_lower(line.substr(0, colon));
            const std::size_t from = line.find_first_not_of(" \t", colon + 1);
            const std::string value = from == std::string::npos ? "" : line.substr(from);
            if (name == "location") out.location = value;
            if (name == "content-length") {
                std::uint64_t length = 0;
                const char* stop = value.data() + value.size();
                if (std::from_chars(value.data(), stop, length).ptr == stop) out.length = length;
            }
            if (name == "transfer-encoding" && ascii_lower(value) != "identity")
                throw err::import_error_cannot_handle_chunked();
        }
        at = end;
    }
    return out;
}

/// The body of a web server's answer, behind its head.
class Download {
  public:
    Download(Call& call, std::unique_ptr<Stream> stream)
        : call_(call), stream_(std::move(stream)) {}

    Task<Answer> ask(std::string request) {
        co_await stream_->write(request);
        std::string head;
        std::array<char, 4096> buffer{};
        std::size_t end = std::string::npos;
        while (end == std::string::npos) {
            const std::size_t got = co_await stream_->read_some(buffer);
            if (got == 0 || head.size() > head_bytes_max)
                throw err::import_error("the server's answer has no end of its head");
            head.append(buffer.data(), got);
            end = head.find("\r\n\r\n");
        }
        ahead_ = head.substr(end + 4);
        head.resize(end + 2);
        const Answer answer = parse_answer(head);
        length_ = answer.length;
        co_return answer;
    }

    /// IMPORT_ERROR_PREMATURE_EOF when the stream ends before its length says so.
    Task<std::size_t> read(std::span<char> buffer) {
        throw_if_cancelled(call_);
        std::size_t got = std::min(buffer.size(), ahead_.size());
        if (got > 0) {
            std::copy_n(ahead_.begin(), got, buffer.begin());
            ahead_.erase(0, got);
        } else if (!length_ || read_ < *length_) {
            got = co_await stream_->read_some(buffer);
            if (got == 0 && length_) throw err::import_error_premature_eof();
        }
        read_ += got;
        if (length_ && *length_ > 0)
            call_.progress(static_cast<double>(read_) / static_cast<double>(*length_));
        co_return got;
    }

  private:
    Call& call_;
    std::unique_ptr<Stream> stream_;
    std::string ahead_;
    std::optional<std::uint64_t> length_;
    std::uint64_t read_ = 0;
};

std::string absolute(const WebAddress& from, const std::string& location) {
    if (location.find("://") != std::string::npos) return location;
    const std::string origin = (from.tls ? "https://" : "http://") + from.host_header;
    return location.starts_with('/') ? origin + location : origin + "/" + location;
}

bool redirects(int status) {
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

Task<std::unique_ptr<Download>> opened(Call& call, const Dial& dial, std::string url) {
    for (int i = 0; i < redirects_max; ++i) {
        const WebAddress address = parse_web_address(url);
        std::unique_ptr<Download> download;
        Answer answer;
        const auto attempt = [&]() -> Task<void> {
            download = std::make_unique<Download>(
                call, co_await dial(address.host, address.port, address.tls));
            answer = co_await download->ask(request_to(address));
        };
        co_await within(call.core().loop, answer_limit, attempt(),
                        err::import_error("the server does not answer"));
        if (answer.status == 200) co_return download;
        if (!redirects(answer.status) || answer.location.empty())
            throw err::import_error("the server answers " + std::to_string(answer.status));
        url = absolute(address, answer.location);
    }
    throw err::import_error("the server redirects without end");
}

}  // namespace

Task<std::vector<Ref<xenapi::Vm>>> import_from(Call& call, const VmParts& parts, Dial dial,
                                               xenapi::VmImport params) {
    if (params.sr) (void)call.db().get(params.sr);
    call.db().transact([&](db::Txn& txn) { call.task(txn); });
    const std::shared_ptr<Download> download = co_await opened(call, dial, std::move(params.url));
    domain::ImportWish wish;
    wish.sr = params.sr;
    wish.restore = params.full_restore;
    wish.force = params.force;
    co_return co_await import_stream(
        call, parts, [download](std::span<char> buffer) { return download->read(buffer); }, wish);
}

}  // namespace basalt::transfer
