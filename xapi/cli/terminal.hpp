#pragma once
#include <optional>
#include <string>

#include "base/stream.hpp"
#include "xapi/cli/protocol.hpp"

namespace basalt::cli {

/// The user's terminal and files, at the other end of a connection. Loop only.
class Terminal {
  public:
    /// What a client may upload in one go.
    static constexpr std::size_t load_bytes_max = std::size_t{32} * 1024 * 1024;

    explicit Terminal(Stream& stream) : stream_(stream) {}

    /// Both sides introduce themselves. Throws ProtocolError.
    Task<void> greet();
    Task<void> print(std::string text);
    /// A newline is added.
    Task<void> print_error(std::string text);
    /// As given: progress.
    Task<void> print_raw_error(std::string text);
    Task<void> debug(std::string text);
    Task<void> error(std::string code, std::vector<std::string> params);
    Task<void> exit(std::int32_t status);
    /// A file of the user's; nullopt: it cannot be read.
    Task<std::optional<std::string>> load(std::string path);
    Task<std::string> prompt();
    /// An http_* instruction; returns whether the client managed.
    Task<bool> transfer(Instruction instruction);

  private:
    Task<void> send(Instruction instruction);
    Task<Answer> receive();
    Task<bool> worked();
    Task<std::string> read_blob();
    Task<std::string> read_exactly(std::size_t count);

    Stream& stream_;
};

}  // namespace basalt::cli
