#pragma once
#include <deque>
#include <memory>
#include <string>

#include "base/wait.hpp"
#include "xapi/core/call.hpp"

namespace basalt::core {

/// Who asked for what, and whether it was allowed and done: a line a call that may change
/// something, in a file of bounded size. Lines are written in order off the loop; a disk that is
/// too slow or full loses lines, which a later one counts, never calls. Loop only.
class AuditLog {
  public:
    static constexpr std::size_t file_bytes_max = std::size_t{16} << 20;

    /// `path` and, for what is older, `path`.1.
    AuditLog(Loop& loop, std::string path) : loop_(loop), path_(std::move(path)) {}

    /// A text of somebody else's, as one line.
    void append(std::string text);
    /// A call's end; `code` is empty when it was done. Calls that anybody may make are left out.
    void note(const xenapi::MessageInfo& message, const Caller& caller, const std::string& code);
    /// All lines so far of moments not before `since` (seconds since 1970), oldest first.
    Task<std::string> read(std::int64_t since);
    /// Waits until all that was appended is written, or lost.
    Task<void> flush();

  private:
    void push(std::string line);
    Task<void> write_pending();

    Loop& loop_;
    std::string path_;
    std::deque<std::string> pending_;
    std::size_t lost_ = 0;
    std::shared_ptr<Job> writing_;
};

}  // namespace basalt::core
