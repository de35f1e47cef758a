#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "agent_values.hpp"
#include "base/wait.hpp"

namespace basalt::sm {

/// Who uses which disk on this host: any number of readers, or one writer.
class Claims {
  public:
    using Id = std::uint64_t;

    explicit Claims(Loop& loop) : released_(loop) {}

    enum class Kind : std::uint8_t {
        guest,     // lasts as long as the guest likes
        transfer,  // ends by itself, so it is waited for a moment
    };

    struct Want {
        std::string disk;
        std::string vdi;  // for the error
        agent::Access access{};
        Kind kind{};
        std::string what;  // the operation, for the error
    };

    /// VDI_IN_USE [vdi, what].
    Task<Id> take(Want want);
    void release(Id id);

    [[nodiscard]] bool used(const std::string& disk) const { return count(disk) > 0; }

    [[nodiscard]] bool sole(const std::string& disk) const { return count(disk) == 1; }

  private:
    struct Held {
        std::string disk;
        agent::Access access;
        Kind kind;
    };

    enum class Conflict : std::uint8_t { none, passing, lasting };
    [[nodiscard]] std::size_t count(const std::string& disk) const;
    [[nodiscard]] Conflict conflict(const Want& want) const;

    Signal released_;
    Id last_ = 0;
    std::map<Id, Held> held_;
};

}  // namespace basalt::sm
