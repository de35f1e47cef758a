#include "xapi/pool/client.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <charconv>

#include "base/error.hpp"

namespace basalt::pool {

namespace {

constexpr std::size_t head_bytes_max = std::size_t{16} * 1024;
constexpr std::size_t body_bytes_max = std::size_t{1024} * 1024;
constexpr int switching_protocols = 101;
constexpr int first_final_status = 200;

[[noreturn]] void refuse(asio::error::basic_errors code) {
    throw boost::system::system_error(code);
}

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

template <class Number>
std::optional<Number> number_of(std::string_view text) {
    while (text.starts_with(' '))
        text.remove_prefix(1);
    Number value{};
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<AnswerHead> parse(std::string text) {
    constexpr std::size_t status_at = 9;  // behind "HTTP/1.1 "
    AnswerHead head;
    if (!text.starts_with("HTTP/1.") || text.size() < status_at + 3) return std::nullopt;
    const auto status = number_of<int>(std::string_view(text).substr(status_at, 3));
    if (!status) return std::nullopt;
    head.status = *status;
    constexpr std::string_view length_name = "\r\ncontent-length:";
    const auto found = std::ranges::search(text, length_name, {}, lower);
    if (!found.empty()) {
        const auto start = static_cast<std::size_t>(found.end() - text.begin());
        const std::size_t end = text.find("\r\n", start);
        head.content_length =
            number_of<std::uint64_t>(std::string_view(text).substr(start, end - start));
        if (!head.content_length) return std::nullopt;
    }
    head.text = std::move(text);
    return head;
}

class Rest final : public Stream {
  public:
    Rest(std::unique_ptr<Stream> stream, std::string ahead)
        : stream_(std::move(stream)), ahead_(std::move(ahead)) {}

    Task<std::size_t> read_some(std::span<char> buffer) override {
        if (ahead_.empty()) co_return co_await stream_->read_some(buffer);
        const std::size_t count = std::min(buffer.size(), ahead_.size());
        std::copy_n(ahead_.begin(), count, buffer.begin());
        ahead_.erase(0, count);
        co_return count;
    }

    Task<void> write(std::string_view bytes) override { return stream_->write(bytes); }

    void shutdown_write() override { stream_->shutdown_write(); }

    void close() override { stream_->close(); }

  private:
    std::unique_ptr<Stream> stream_;
    std::string ahead_;
};

}  // namespace

Task<AnswerHead> AnswerReader::head() {
    constexpr std::string_view end = "\r\n\r\n";
    for (;;) {
        const std::size_t at = ahead_.find(end);
        if (at == std::string::npos) {
            if (ahead_.size() > head_bytes_max) refuse(asio::error::message_size);
            std::array<char, 4096> buffer;
            const std::size_t got = co_await stream_->read_some(buffer);
            if (got == 0) refuse(asio::error::connection_reset);
            ahead_.append(buffer.data(), got);
            continue;
        }
        std::optional<AnswerHead> head = parse(ahead_.substr(0, at + end.size()));
        ahead_.erase(0, at + end.size());
        if (!head) refuse(asio::error::invalid_argument);
        if (head->status >= first_final_status || head->status == switching_protocols)
            co_return std::move(*head);
    }
}

Task<std::size_t> AnswerReader::read_some(std::span<char> buffer) {
    if (ahead_.empty()) co_return co_await stream_->read_some(buffer);
    const std::size_t count = std::min(buffer.size(), ahead_.size());
    std::copy_n(ahead_.begin(), count, buffer.begin());
    ahead_.erase(0, count);
    co_return count;
}

Task<std::string> AnswerReader::body(std::uint64_t length) {
    if (length > body_bytes_max) refuse(asio::error::message_size);
    std::string out(static_cast<std::size_t>(length), '\0');
    std::size_t have = 0;
    while (have < out.size()) {
        const std::size_t got = co_await read_some(std::span(out).subspan(have));
        if (got == 0) refuse(asio::error::connection_reset);
        have += got;
    }
    co_return out;
}

std::unique_ptr<Stream> AnswerReader::rest() {
    return std::make_unique<Rest>(std::move(stream_), std::move(ahead_));
}

Task<std::unique_ptr<Stream>> upgraded(std::unique_ptr<Stream> stream, std::string path,
                                       server::Parameters headers) {
    std::string request = "POST " + path +
                          " HTTP/1.1\r\nHost: pool\r\nConnection: Upgrade\r\n"
                          "Upgrade: basalt\r\nContent-Length: 0\r\n";
    for (const auto& [name, value] : headers)
        request += name + ": " + value + "\r\n";
    request += "\r\n";
    co_await stream->write(request);
    AnswerReader reader(std::move(stream));
    const AnswerHead head = co_await reader.head();
    if (head.status != switching_protocols) refuse(asio::error::connection_refused);
    co_return reader.rest();
}

Task<Json> ask(AnswerReader& connection, std::string path, Json question) {
    const std::string body = question.dump();
    const std::string request = "POST " + path + " HTTP/1.1\r\nHost: pool\r\nContent-Length: " +
                                std::to_string(body.size()) + "\r\n\r\n" + body;
    co_await connection.stream().write(request);
    const AnswerHead head = co_await connection.head();
    const std::string text = co_await connection.body(head.content_length.value_or(0));
    Json answer = Json::parse(text, nullptr, false);
    if (head.status != first_final_status || !answer.is_object())
        refuse(asio::error::connection_refused);
    const auto error = answer.find("error");
    if (error == answer.end()) co_return answer;
    std::vector<std::string> words;
    if (error->is_array())
        for (const Json& word : *error)
            if (word.is_string()) words.push_back(word.get<std::string>());
    if (words.empty()) words.emplace_back("INTERNAL_ERROR");
    const std::string code = words.front();
    words.erase(words.begin());
    throw ApiError(code, std::move(words));
}

}  // namespace basalt::pool
