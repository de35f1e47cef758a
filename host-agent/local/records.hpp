#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/wait.hpp"

/// hostd's small durable store: texts by (room, key), all of them also in memory.
namespace basalt::agent {

/// Reads answer at once and see every `commit` already called; a commit returns when it is durable
/// (SQLite, synchronous=FULL). Commits that come while one is being written share the next write.
/// Loop only.
class Records {
  public:
    /// An absent value erases.
    struct Change {
        std::string room;
        std::string key;
        std::optional<std::string> value;
    };

    /// Opens or makes the file (mode 0600); ":memory:" is for simulations. Blocks: call at start.
    /// Throws ApiError INTERNAL_ERROR with SQLite's text.
    Records(Loop& loop, const std::string& path);
    ~Records();
    Records(const Records&) = delete;
    Records& operator=(const Records&) = delete;

    [[nodiscard]] std::optional<std::string> get(const std::string& room,
                                                 const std::string& key) const;
    /// Ordered by key.
    [[nodiscard]] const std::map<std::string, std::string>& room(const std::string& room) const;
    /// All or nothing, in the order of calls. Not cancellable. Throws INTERNAL_ERROR; memory and
    /// file may then differ, so that the caller must stop acting.
    Task<void> commit(std::vector<Change> changes);

  private:
    class File;
    struct Batch;
    static Task<void> write_loop(std::shared_ptr<File> file, Loop& loop);

    Loop& loop_;
    std::shared_ptr<File> file_;
    std::map<std::string, std::map<std::string, std::string>> rooms_;
};

}  // namespace basalt::agent
