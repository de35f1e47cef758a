#pragma once
#include <string>

#include "base/log.hpp"
#include "base/wait.hpp"

namespace basalt::agent {

/// Who may log in to this host: PAM decides. Loop only.
class Auth {
  public:
    struct Config {
        std::string service = "xapi";
        /// Folder of the service's file; empty: the system's.
        std::string directory;
    };

    Auth(Loop& loop, Config config) : loop_(loop), config_(std::move(config)), queue_(loop) {}

    /// Throws SESSION_AUTHENTICATION_FAILED [user, message], at once: whoever faces the network
    /// makes the guesser wait. `address` is where the caller comes from, for PAM's log.
    Task<void> login(std::string user, log::Secret password, std::string address);
    /// As `login` with the old password, then CHANGE_PASSWORD_REJECTED [message].
    Task<void> change_password(std::string user, log::Secret old, log::Secret fresh);

  private:
    Loop& loop_;
    Config config_;
    ObjectQueue queue_;  // a burst of logins must not take every thread of the pool
    std::uint64_t turn_ = 0;
};

}  // namespace basalt::agent
