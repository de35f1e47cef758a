#pragma once
#include <memory>

namespace basalt::xenapi {

struct ClassInfo;

/// A shared, immutable record of a class known at run time; empty: no record.
struct AnyRecord {
    const ClassInfo* cls = nullptr;
    std::shared_ptr<const void> record;

    [[nodiscard]] bool has_value() const { return record != nullptr; }

    friend bool operator==(const AnyRecord& a, const AnyRecord& b);
};

}  // namespace basalt::xenapi
