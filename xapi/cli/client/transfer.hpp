#pragma once
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "xapi/cli/client/channel.hpp"

namespace basalt::cli::client {

/// The files that the user named: only these does the server get to read or write.
class AllowedFiles {
  public:
    explicit AllowedFiles(const std::vector<std::string>& words);

    [[nodiscard]] bool may_read(const std::string& path) const;
    /// Also anything in the current folder, since servers make up names for downloads.
    [[nodiscard]] bool may_write(const std::string& path) const;

  private:
    std::set<std::string> paths_;
};

/// The HTTP side of an instruction. Each answers whether it worked; what went wrong is on stderr.
class Transfers {
  public:
    using Alive = std::function<void()>;

    /// `alive` is called now and then while a transfer runs.
    Transfers(Address server, const AllowedFiles& files, Alive alive)
        : server_(std::move(server)), files_(files), alive_(std::move(alive)) {}

    /// An empty file name means stdout.
    bool get(const std::string& file, const std::string& url);
    bool put(const std::string& file, const std::string& url);
    /// Joins the terminal with what the server offers, until it ends or the user types 0x1d.
    bool connect(const std::string& url);

  private:
    struct Reply;
    Reply request(const std::string& method, std::string url, const std::string& headers);

    Address server_;
    const AllowedFiles& files_;
    Alive alive_;
};

}  // namespace basalt::cli::client
