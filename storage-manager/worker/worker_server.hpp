#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/rpc.hpp"
#include "storage-manager/api/storage.hpp"

namespace basalt::sm {

/// The worker's end: hosts one driver of one SR and answers its verbs.
class WorkerServer final : public rpc::Handler {
  public:
    /// `drivers` must outlive it.
    explicit WorkerServer(Drivers& drivers);

    Task<rpc::Reply> handle(rpc::Request request) override;

  private:
    using Json = rpc::Json;
    using Verb = std::function<Task<rpc::Reply>(Json)>;

    void add_kind_verbs();
    void add_driver_verbs();
    void add_ability_verbs();
    Driver& driver();
    Snapshots& snapshots();
    Resizer& resizer();

    Drivers& drivers_;
    std::unique_ptr<Driver> driver_;
    std::map<std::string, Verb> verbs_;
};

}  // namespace basalt::sm
