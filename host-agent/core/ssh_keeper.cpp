#include "host-agent/core/ssh_keeper.hpp"

#include "base/log.hpp"

namespace basalt::agent {

namespace {

const std::string machine_room = "machine";
const std::string automatic_key = "ssh_auto";
// A xapi that restarts is away for seconds, one that cannot start connects for seconds.
constexpr Duration patience = 2min;

}  // namespace

bool SshKeeper::is_automatic() const {
    return records_.get(machine_room, automatic_key).has_value();
}

Task<void> SshKeeper::set_automatic(bool on) {
    std::vector<Records::Change> changes;
    changes.push_back(
        {machine_room, automatic_key, on ? std::optional<std::string>("on") : std::nullopt});
    co_await records_.commit(std::move(changes));
    settled_ = false;
    since_ = loop_.now();
}

void SshKeeper::note_connected(bool connected) {
    if (connected == connected_) return;
    connected_ = connected;
    settled_ = false;
    since_ = loop_.now();
}

Task<void> SshKeeper::look() {
    if (settled_ || !is_automatic() || loop_.now() - since_ < patience) co_return;
    const Time looked_at = since_;
    HostChange change;
    change.ssh_enabled = !connected_;
    std::string failure;
    try {
        co_await services_.machine().change(change);
    } catch (const ApiError& error) {
        failure = error.what();
    }
    if (!failure.empty())
        log::warn("ssh_not_switched", {{"on", *change.ssh_enabled}, {"error", failure}});
    else
        log::info("ssh_switched", {{"on", *change.ssh_enabled}});
    // What came or went meanwhile is looked at next time.
    settled_ = failure.empty() && since_ == looked_at;
}

}  // namespace basalt::agent
