#pragma once
#include <string>

#include "base/real_loop.hpp"
#include "base/wait.hpp"

namespace basalt::agent {

/// Scripts that serve messages of their own: each is called as the message, gets the call as
/// XML-RPC on its standard input and prints the response. Loop only.
class Extensions {
  public:
    Extensions(RealLoop& loop, std::string directory)
        : loop_(loop), directory_(std::move(directory)) {}

    Task<bool> has(std::string name);
    /// The value of the response, as the text within its `<value>`. Throws
    /// MESSAGE_METHOD_UNKNOWN [name], EXTENSION_PROTOCOL_FAILURE [output], or what the script
    /// answers. Not idempotent: whatever the script does.
    Task<std::string> call(std::string name, std::string request);

  private:
    [[nodiscard]] std::string path_of(const std::string& name) const;

    RealLoop& loop_;
    std::string directory_;
};

}  // namespace basalt::agent
