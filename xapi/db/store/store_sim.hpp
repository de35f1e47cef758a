#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/loop.hpp"
#include "xapi/db/store/store.hpp"

namespace basalt::db {

/// What a simulated disk holds; survives the store that wrote it, and its crash.
struct SimDisk {
    /// The log, a checksum before each encoded commit; the last entry may be torn.
    std::vector<std::string> log;
    std::uint64_t epoch = 1;
    std::uint64_t store_id = 0;
    std::uint64_t reserved = 1;
    bool copied = false;  ///< a backup: the next store on it starts a new epoch
    bool opened = false;  ///< by a living store
};

struct SimFaults {
    Duration write_min = 100us;
    Duration write_max = 2ms;
    /// The write after this many fails, with an unknown outcome; none when negative.
    std::int64_t writes_until_failure = -1;
    bool disk_full = false;
};

/// The store in memory under a loop's time: writes take a while, group, and can fail.
class SimStore final : public Store {
  public:
    /// Both must outlive it. Throws INTERNAL_ERROR when another store has the disk open.
    SimStore(Loop& loop, SimDisk& disk, SimFaults faults = {});
    ~SimStore() override;

    StoreContents load(StoreListener& listener) override;
    void detach() override;
    void append(CommitRecord record) override;
    void reserve(std::uint64_t until) override;
    [[nodiscard]] bool accepts() const override;
    Task<void> backup(std::string path) override;

    /// Power fails: of the write under way any first part reaches the disk, its last entry perhaps
    /// torn; nothing queued does. The store is dead afterwards.
    void crash();
    [[nodiscard]] SimFaults& faults();
    /// The copy that `backup(path)` made; throws std::out_of_range.
    [[nodiscard]] const SimDisk& copy(const std::string& path) const;

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace basalt::db
