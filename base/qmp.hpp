#pragma once
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/stream.hpp"
#include "base/wait.hpp"

/// The control protocol of QEMU, its storage daemon and its guest agent: one JSON object a line.
namespace basalt::qmp {

using Json = nlohmann::json;

/// What the other side answered instead of a result. Whoever called translates it into an ApiError.
class Error final : public std::exception {
  public:
    Error(std::string command, std::string kind, std::string description);

    [[nodiscard]] const std::string& command() const { return command_; }

    /// QEMU's error class: GenericError, DeviceNotFound, CommandNotFound ...
    [[nodiscard]] const std::string& kind() const { return kind_; }

    [[nodiscard]] const std::string& description() const { return description_; }

    [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

  private:
    std::string command_;
    std::string kind_;
    std::string description_;
    std::string text_;
};

using OnEvent = std::function<void(std::string name, Json data)>;

/// One end of a connection. Any number of commands may be under way; each gets its own answer.
/// Loop only. Destroying it closes the connection; commands still open fail with INTERNAL_ERROR.
class Client {
  public:
    Client(Loop& loop, std::unique_ptr<Stream> stream);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    /// What to do with events and at the end of the connection (once, also after `close`).
    /// Set before `connect`; neither is called any more after the client is destroyed.
    void on_event(OnEvent handler);
    void on_closed(std::function<void()> handler);

    /// Awaits the greeting and leaves the negotiation mode. Answers with the greeting's body.
    /// INTERNAL_ERROR when `limit` passes or the other side is no QMP server.
    Task<Json> connect(Duration limit = 10s);
    /// For a guest agent, which does not greet: discards what it still had to say and
    /// synchronises. INTERNAL_ERROR when `limit` passes: no agent listens.
    Task<void> connect_agent(Duration limit);

    /// Runs a command and answers with its `return`. Throws Error when the other side refuses, and
    /// INTERNAL_ERROR [text] when `limit` passes or the connection ends: the command's effect is
    /// then unknown. Cancellable, with the same meaning. Descriptors (for getfd, add-fd) need a
    /// unix socket below.
    Task<Json> execute(std::string command, Json arguments = Json::object(), Duration limit = 10s,
                       std::vector<UniqueFd> fds = {});

    void close();
    [[nodiscard]] bool closed() const;

    struct State;

  private:
    std::shared_ptr<State> state_;
};

}  // namespace basalt::qmp
