#pragma once
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/stream.hpp"
#include "base/wait.hpp"
#include "network-manager/ovsdb/reconnect.hpp"

/// JSON-RPC 1.0 as an OVSDB server speaks it (RFC 7047).
namespace basalt::nm::ovsdb {

/// Cuts a stream of JSON texts without separators into texts.
class Splitter {
  public:
    void feed(std::string_view bytes) { pending_ += bytes; }

    /// The next whole text; empty when more bytes are needed. Throws ApiError beyond 64 MiB.
    std::string next();

  private:
    std::string pending_;
    std::size_t scanned_ = 0;
    std::size_t depth_ = 0;
    bool in_string_ = false;
    bool escaped_ = false;
};

/// One connection. Loop only.
class Client {
  public:
    /// What it throws ends the connection.
    using OnUpdate = std::function<void(const nlohmann::json& tables)>;

    Client(Loop& loop, std::unique_ptr<Stream> stream, OnUpdate on_update);

    /// Reads until the connection ends; calls still open then fail. Keep the client alive until it
    /// returns.
    Task<void> run();
    /// Throws INTERNAL_ERROR with the server's error, or "connection lost" (outcome unknown).
    Task<nlohmann::json> call(std::string method, nlohmann::json params);
    void close();

    [[nodiscard]] bool closed() const { return closed_; }

  private:
    struct Call;
    Task<void> read();
    Task<void> send(nlohmann::json message);
    Task<void> receive(nlohmann::json message);

    Loop& loop_;
    std::unique_ptr<Stream> stream_;
    OnUpdate on_update_;
    bool closed_ = false;
    std::int64_t last_id_ = 0;
    std::map<std::int64_t, std::shared_ptr<Call>> calls_;
    ObjectQueue writers_;
};

/// A connection that is made again whenever it ends. Loop only.
class Session {
  public:
    using Connect = std::function<Task<std::unique_ptr<Stream>>()>;

    /// `monitor` is the third parameter of OVSDB's monitor call. `on_change` hears of the first
    /// contents and of every change afterwards.
    Session(Loop& loop, Connect connect, nlohmann::json monitor, Client::OnUpdate on_change);
    ~Session();

    /// Keeps the connection until cancelled. The session must outlive it.
    Task<void> run();
    /// Runs one transaction and returns the result of each operation. Waits up to `limit` for a
    /// connection. Throws INTERNAL_ERROR when there is none, or when an operation failed (then
    /// nothing was changed).
    Task<nlohmann::json> transact(nlohmann::json operations, Duration limit = 10s);

    [[nodiscard]] bool connected() const { return client_ != nullptr; }

  private:
    Task<void> serve(std::unique_ptr<Stream> stream);

    Loop& loop_;
    Connect connect_;
    nlohmann::json monitor_;
    Client::OnUpdate on_change_;
    std::shared_ptr<Client> client_;
    Reconnect reconnect_;
    Signal connected_;
};

/// Checks the answer of a transact call: throws INTERNAL_ERROR for the first operation that failed.
void throw_on_failure(const nlohmann::json& results);

}  // namespace basalt::nm::ovsdb
