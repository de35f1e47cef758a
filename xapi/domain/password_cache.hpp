#pragma once
#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "base/loop.hpp"

namespace basalt::domain {

/// Which passwords of users proved right a short while ago, so that a client that logs in again and
/// again does not keep PAM busy. Passwords are kept as digests, each with a salt of its own. Loop
/// only.
class PasswordCache {
  public:
    struct Bounds {
        std::size_t users_max = 0;
        Duration kept_for{};
    };

    explicit PasswordCache(Loop& loop) : loop_(loop) {}

    /// Whether this password was noted within the last `kept_for`.
    [[nodiscard]] bool knows(const std::string& user, std::string_view password,
                             Bounds bounds) const;
    /// Beyond `users_max` the one that was noted first goes.
    void note(const std::string& user, std::string_view password, Bounds bounds);
    void forget(const std::string& user);
    void clear();

    [[nodiscard]] std::size_t size() const { return entries_.size(); }

  private:
    struct Entry {
        std::string salt;
        std::string digest;
        Time noted{};
    };

    Loop& loop_;
    std::map<std::string, Entry> entries_;
};

}  // namespace basalt::domain
