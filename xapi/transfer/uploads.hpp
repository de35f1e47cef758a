#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "idl/classes.hpp"
#include "xapi/core/call.hpp"
#include "xapi/rpc/http_auth.hpp"

/// What all requests that carry a long body have in common.
namespace basalt::transfer {

/// Clients that stream without knowing the length announce this one.
inline constexpr std::uint64_t unknown_length = std::uint64_t{1} << 50U;

/// The head of an answer of unknown length: neither a length nor chunks, as clients hold the
/// exchange open while they upload. Names the call's task, if it has one.
[[nodiscard]] server::ResponseHead early_head(const Call& call,
                                              std::string_view type = "application/octet-stream");

/// Whether the request only looks for a redirect: the query of the real one without a task, and no
/// body whatever its length says. It is answered 200 and changes nothing.
[[nodiscard]] bool is_probe(const server::HttpRequest& request);

/// Whether the request says how long its body is.
[[nodiscard]] bool length_known(const server::HttpRequest& request);

/// Whether a parameter is there and says yes.
[[nodiscard]] bool truth(const server::HttpRequest& request, std::string_view name,
                         bool otherwise = false);

/// A client's task is cancelled by its row alone: those who work for it look there. Throws
/// TASK_CANCELLED.
void throw_if_cancelled(const Call& call);

/// Some of the body; 0 at its end, which clients of unknown length make by breaking off.
Task<std::size_t> read_upload(server::Exchange& exchange, std::span<char> buffer);

/// The request's body: counted, and given up when the client cancels its task.
class UploadBody {
  public:
    /// Both outlive it.
    UploadBody(server::Exchange& exchange, Call& call);

    /// As `read_upload`. TASK_CANCELLED.
    Task<std::size_t> read(std::span<char> buffer);

    [[nodiscard]] std::uint64_t read_bytes() const { return read_; }

  private:
    server::Exchange& exchange_;
    Call& call_;
    std::uint64_t expected_ = 0;  // 0: not known
    std::uint64_t read_ = 0;
};

}  // namespace basalt::transfer
