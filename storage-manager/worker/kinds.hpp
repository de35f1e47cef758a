#pragma once
#include <map>

#include "storage-manager/api/storage.hpp"

namespace basalt::sm {

/// Drivers that run in this process: inside a worker, in the simulator, in tests.
class Kinds final : public Drivers {
  public:
    void add(Kind kind);

    Task<std::vector<agent::SmFacts>> facts() override;
    Task<std::unique_ptr<Driver>> make(Sr sr) override;
    Task<void> create(Sr sr) override;
    Task<void> destroy(Sr sr) override;
    Task<std::string> probe(std::string type, DeviceConfig config) override;

  private:
    const Kind& kind(const std::string& type) const;

    std::map<std::string, Kind> kinds_;
};

}  // namespace basalt::sm
