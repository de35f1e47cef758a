#pragma once
// xapi and hostd as they ship, behind sockets of their own, in a folder that goes afterwards. The
// host's machine is simulated, its daemons are not.
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace basalt::bench {

/// CPU time that a process has used so far, all its threads, in seconds.
double cpu_seconds(pid_t process);
/// Of /proc/PID/status, in MB (10^6 bytes): "VmRSS", "VmHWM".
double memory_mb(pid_t process, const std::string& field);

/// A child process; ended by SIGTERM when this goes.
class Process {
  public:
    Process() = default;
    /// `sockets` become descriptors 3 and on, as systemd hands them over under `names`.
    Process(const std::vector<std::string>& argv, const std::string& log,
            const std::vector<int>& sockets = {}, const std::string& names = {},
            const std::vector<std::string>& environment = {});

    explicit Process(pid_t forked) : pid_(forked) {}

    Process(Process&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}

    Process& operator=(Process&& other) noexcept;
    ~Process();

    [[nodiscard]] pid_t pid() const { return pid_; }

    void stop();

  private:
    pid_t pid_ = 0;
};

class Daemons {
  public:
    /// `programs`: the folder of xapi, hostd and confine.
    explicit Daemons(std::filesystem::path programs);
    ~Daemons();
    Daemons(const Daemons&) = delete;
    Daemons& operator=(const Daemons&) = delete;

    /// Starts xapi; returns the seconds until it answered a login. Each write to the disk takes
    /// `sync_delay_ms` longer.
    double start_xapi(int sync_delay_ms = 0);

    void stop_xapi() { xapi_.stop(); }

    [[nodiscard]] std::string unix_path() const { return folder_ / "xapi.sock"; }

    [[nodiscard]] std::uint16_t http_port() const { return http_port_; }

    [[nodiscard]] std::uint16_t https_port() const { return https_port_; }

    [[nodiscard]] pid_t xapi() const { return xapi_.pid(); }

    [[nodiscard]] pid_t hostd() const { return hostd_.pid(); }

    [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

  private:
    void write_config();

    std::filesystem::path programs_;
    std::filesystem::path folder_;
    UniqueFd unix_;
    UniqueFd http_;
    UniqueFd https_;
    std::uint16_t http_port_ = 0;
    std::uint16_t https_port_ = 0;
    Process hostd_;
    Process xapi_;
};

}  // namespace basalt::bench
