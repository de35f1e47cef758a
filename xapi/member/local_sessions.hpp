#pragma once
#include <map>
#include <optional>
#include <string>

#include "base/loop.hpp"

namespace basalt::member {

/// Sessions that this host made itself, for emergency calls: in memory, gone with the process.
/// Their references are good nowhere else.
class LocalSessions {
  public:
    static constexpr std::size_t sessions_max = 100;  // the one longest unused goes
    static constexpr Duration idle_max = std::chrono::hours(24);

    explicit LocalSessions(Loop& loop) : loop_(loop) {}

    /// The new session's reference.
    std::string open(std::string user);
    /// Its user; nullopt: there is none. Counts as use.
    [[nodiscard]] std::optional<std::string> user_of(const std::string& ref);
    void close(const std::string& ref);

    [[nodiscard]] std::size_t count() const { return sessions_.size(); }

  private:
    struct Session {
        std::string user;
        Time used;
    };

    void make_room();

    Loop& loop_;
    std::map<std::string, Session> sessions_;
};

}  // namespace basalt::member
