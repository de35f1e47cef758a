#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/json.hpp"
#include "base/stream.hpp"
#include "xapi/rpc/http.hpp"

/// The asking side of what the hosts of a pool say to each other over HTTP.
namespace basalt::pool {

/// Opens a connection to the coordinator on which both ends have proved who they are. Throws
/// std::runtime_error.
using Dial = std::function<Task<std::unique_ptr<Stream>>()>;

/// The head of an answer.
struct AnswerHead {
    std::string text;  ///< as it came, with the empty line
    int status = 0;
    std::optional<std::uint64_t> content_length;
};

/// Reads the answers to requests that were written to a stream. What was read ahead stays in here.
class AnswerReader {
  public:
    explicit AnswerReader(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) {}

    [[nodiscard]] Stream& stream() { return *stream_; }

    /// The next head that is not an interim one (1xx other than 101). Throws system_error: the
    /// stream ended, or this is not HTTP.
    Task<AnswerHead> head();
    /// Some of the body that follows; 0 at the end of the stream.
    Task<std::size_t> read_some(std::span<char> buffer);
    /// All of a body of known length.
    Task<std::string> body(std::uint64_t length);
    /// The stream from here on, what was read ahead first. The reader is empty afterwards.
    [[nodiscard]] std::unique_ptr<Stream> rest();

  private:
    std::unique_ptr<Stream> stream_;
    std::string ahead_;
};

/// Makes a connection carry another protocol from here on. Throws system_error when the other side
/// does not do that.
Task<std::unique_ptr<Stream>> upgraded(std::unique_ptr<Stream> stream, std::string path,
                                       server::Parameters headers);

/// A question and its answer on a connection that is kept. Throws system_error when the connection
/// is no good any more, ApiError when the other side says so.
Task<Json> ask(AnswerReader& connection, std::string path, Json question);

}  // namespace basalt::pool
