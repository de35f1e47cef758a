#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/rpc_fwd.hpp"
#include "base/stream.hpp"
#include "base/wait.hpp"

/// Calls between our own processes: xapi and hostd, hostd and its storage workers.
/// A message is JSON (in a stream as base/framing.hpp says), with descriptors where the channel can
/// carry them. Both sides may call. Messages:
///   {"id":7,"verb":"vm.start","args":{...}}   {"id":7,"result":...} |
///   {"id":7,"error":["CODE","p"]}
///   {"progress":7,"value":0.5}   {"cancel":7}   {"event":"vm.changed","args":{...}}
namespace basalt::rpc {

struct Frame {
    Json body;
    std::vector<UniqueFd> fds;
};

/// Carries frames in order. Loop only.
class Channel {
  public:
    virtual ~Channel() = default;
    /// The next frame; throws system_error at the end of the stream or on garbage.
    virtual Task<Frame> receive() = 0;
    virtual Task<void> send(Frame frame) = 0;
    virtual void close() = 0;
};

std::unique_ptr<Channel> socket_channel(Loop& loop, std::unique_ptr<FdStream> stream);
/// Two ends joined in memory; descriptors pass as they are.
std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> memory_channels(Loop& loop);

struct Request {
    std::string verb;
    Json args;
    std::vector<UniqueFd> fds;
    Progress progress;
};

struct Reply {
    Json result;
    std::vector<UniqueFd> fds;
};

class Handler {
  public:
    virtual ~Handler() = default;
    /// Answers a call; an exception becomes the error (ApiError as it is). Cancelled when the
    /// caller cancels.
    virtual Task<Reply> handle(Request request) = 0;
    /// What comes after the event, answers too, is looked at when this is over.
    virtual Task<void> on_event(std::string name, Json args);
};

/// One end of a channel.
class Peer {
  public:
    /// `handler` may be null (then every call is refused) and must outlive the peer.
    Peer(Loop& loop, std::unique_ptr<Channel> channel, Handler* handler);
    ~Peer();
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    /// Serves until the channel ends or `close`. Calls still open then fail with INTERNAL_ERROR
    /// ["connection lost", verb]: their outcome is unknown.
    Task<void> run();
    /// Calls the other end. Cancelling asks the other end to cancel and still waits for its answer.
    Task<Reply> call(std::string verb, Json args, std::vector<UniqueFd> fds = {},
                     Progress progress = {});
    void notify(std::string event, Json args);
    void close();
    [[nodiscard]] bool closed() const;

    struct State;

  private:
    std::shared_ptr<State> state_;
};

}  // namespace basalt::rpc
