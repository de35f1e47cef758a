#include "xapi/core/audit_log.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <format>
#include <fstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/log.hpp"
#include "idl/runtime/datetime.hpp"

namespace basalt::core {

namespace {

constexpr std::size_t pending_max = 10'000;
constexpr std::size_t line_bytes_max = 4096;
constexpr std::size_t moment_at = 1;  // after the bracket
constexpr std::size_t moment_bytes = 18;
constexpr xenapi::RoleMask everybody = 1U << 6U;  // read-only, the last of the chain

std::string one_line(std::string text) {
    text.resize(std::min(text.size(), line_bytes_max));
    std::ranges::replace_if(
        text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
    return text;
}

std::string quoted(std::string text) {
    std::ranges::replace(text, '\'', '"');
    return "'" + one_line(std::move(text)) + "'";
}

/// The lines go with it: to free thousands of them takes as long as to write them.
void write_lines(const std::string& path, std::deque<std::string> lines) {
    std::string text;
    for (; !lines.empty(); lines.pop_front())
        text += lines.front() + '\n';
    std::error_code absent;
    const auto size = std::filesystem::file_size(path, absent);
    if (!absent && size > AuditLog::file_bytes_max) std::filesystem::rename(path, path + ".1");
    std::ofstream out(path, std::ios::app | std::ios::binary);
    out << text;
    out.flush();
    if (!out) throw std::system_error(errno, std::generic_category(), path);
}

void append_since(const std::string& path, const std::string& since, std::string& out) {
    std::ifstream in(path, std::ios::binary);
    for (std::string line; std::getline(in, line);)
        // Moments of one form are in order as texts.
        if (line.size() > moment_at + moment_bytes &&
            std::string_view(line).substr(moment_at, moment_bytes) >= since)
            out += line + '\n';
}

}  // namespace

void AuditLog::append(std::string text) {
    push(one_line(std::move(text)));
}

void AuditLog::note(const xenapi::MessageInfo& message, const Caller& caller,
                    const std::string& code) {
    if (message.no_session || (message.roles & everybody) != 0) return;
    const bool denied = code == "RBAC_PERMISSION_DENIED";
    const std::string outcome = code.empty() ? "OK" : "ERROR:" + code;
    push(std::format("('session={}' {} {} '{}' {} 'API' {})", caller.session.text().substr(0, 18),
                     quoted(caller.root ? "LOCAL_SUPERUSER" : "SUBJECT"), quoted(caller.user),
                     denied ? "DENIED" : "ALLOWED", quoted(outcome),
                     quoted(std::string(message.wire_name))));
}

void AuditLog::push(std::string line) {
    if (pending_.size() >= pending_max) {
        ++lost_;
        return;
    }
    const xenapi::DateTime now{loop_.wall_ns() / 1'000'000'000};
    if (lost_ > 0)
        pending_.push_back(std::format("[{}|audit] {} lines were lost", now.text(), lost_));
    lost_ = 0;
    pending_.push_back("[" + now.text() + "|audit] " + std::move(line));
    if (!writing_ || writing_->finished()) writing_ = spawn(loop_, "audit log", write_pending());
}

Task<void> AuditLog::write_pending() {
    while (!pending_.empty()) {
        const std::size_t count = pending_.size();
        std::string failure;
        try {
            co_await blocking(loop_, [path = path_, lines = std::exchange(pending_, {})]() mutable {
                write_lines(path, std::move(lines));
            });
        } catch (const std::system_error& error) {
            if (is_cancellation(std::current_exception())) throw;
            failure = error.what();
        }
        if (failure.empty()) continue;
        lost_ += count;
        log::error("audit_log_not_written", {{"lines", count}, {"error", failure}});
    }
    writing_.reset();  // the job is over some turns from now
}

Task<void> AuditLog::flush() {
    while (writing_ && !writing_->finished()) {
        const auto job = writing_;
        co_await job->wait();
    }
}

Task<std::string> AuditLog::read(std::int64_t since) {
    co_await flush();
    const std::string from = xenapi::DateTime{since}.text();
    co_return co_await blocking(loop_, [path = path_, from] {
        std::string out;
        append_since(path + ".1", from, out);
        append_since(path, from, out);
        return out;
    });
}

}  // namespace basalt::core
