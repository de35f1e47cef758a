#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

// The thin protocol between xe and the server that drives it: framing only, no I/O.
namespace basalt::cli {

inline constexpr std::int32_t protocol_major = 0;
inline constexpr std::int32_t protocol_minor = 2;
/// Of one message; bulk data travels outside the framing.
inline constexpr std::int32_t message_bytes_max = 16 * 1024 * 1024;
inline constexpr std::size_t handshake_bytes = 27 + 4 + 4;

/// The other side does not speak the protocol, or another version of it.
class ProtocolError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// What the server tells the client to do.
struct Instruction {
    enum class Kind : std::int32_t {
        print = 0,
        load = 1,
        prompt = 3,
        exit = 4,
        http_get = 12,
        http_put = 13,
        error = 14,
        debug = 15,
        print_stderr = 16,
        http_connect = 17,
    };

    Kind kind = Kind::print;
    std::string text;                 ///< what to show, the file's name, or the error's code
    std::string url;                  ///< http_*; a path means the server in use
    std::vector<std::string> params;  ///< of an error
    std::int32_t status = 0;          ///< of exit
};

/// What the client says to the server.
struct Answer {
    enum class Kind : std::uint8_t { ok, failed, wait, chunk, end };

    Kind kind = Kind::ok;
    std::int32_t length = 0;  ///< of the raw bytes that follow a chunk
};

/// What each side sends first.
[[nodiscard]] std::string handshake();
/// Throws ProtocolError when the other side is no thin CLI or has another major version.
void check_handshake(std::string_view bytes);

/// A whole frame, its length included.
[[nodiscard]] std::string frame(const Instruction& instruction);
[[nodiscard]] std::string frame(const Answer& answer);

/// The four bytes before a frame's content. Throws ProtocolError beyond message_bytes_max.
[[nodiscard]] std::size_t frame_length(std::string_view four_bytes);
/// The content of a frame. Throws ProtocolError.
[[nodiscard]] Instruction parse_instruction(std::string_view content);
[[nodiscard]] Answer parse_answer(std::string_view content);

}  // namespace basalt::cli
