#pragma once
#include <functional>
#include <memory>
#include <string>

#include "base/fd.hpp"
#include "base/rpc_fwd.hpp"
#include "xapi/pool/client.hpp"

namespace basalt::member {

/// What a member is made of, given by who starts it.
struct MemberParts {
    std::string uuid;         ///< of this host
    std::string coordinator;  ///< numeric address, as redirects name it
    pool::Dial dial;          ///< to the coordinator
    std::function<Task<std::unique_ptr<rpc::Channel>>()> connect_hostd;
    /// Null where descriptors cannot be had (simulation): frames with some then lose them.
    std::function<std::unique_ptr<Stream>(UniqueFd)> adopt;
    std::string pool_secret;
    /// Makes this host a member under another coordinator from its next start on. Throws ApiError.
    std::function<void(std::string address)> follow;
    /// Ends the process in good order, to be started again.
    std::function<void()> restart;
};

}  // namespace basalt::member
