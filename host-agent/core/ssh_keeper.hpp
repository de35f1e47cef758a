#pragma once
#include "base/wait.hpp"
#include "host-agent/core/backends.hpp"
#include "host-agent/local/records.hpp"

namespace basalt::agent {

/// Where an administrator asked for it (HostChange.ssh_auto), the machine lets people in by SSH
/// only while no xapi is connected to this hostd: they may come to repair it. The wish outlives
/// hostd. Loop only.
class SshKeeper {
  public:
    SshKeeper(Loop& loop, Records& records, Services& services)
        : loop_(loop), records_(records), services_(services), since_(loop.now()) {}

    /// Durable when it returns; what SSH is just then is the caller's to say.
    Task<void> set_automatic(bool on);
    void note_connected(bool connected);
    /// From time to time: switches SSH when the connection has been there, or away, long enough.
    Task<void> look();

  private:
    [[nodiscard]] bool is_automatic() const;

    Loop& loop_;
    Records& records_;
    Services& services_;
    bool connected_ = false;
    Time since_;            // the connection came or went; hostd's start
    bool settled_ = false;  // nothing came or went since SSH was switched
};

}  // namespace basalt::agent
