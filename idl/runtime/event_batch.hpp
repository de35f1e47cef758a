#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "idl/runtime/any_record.hpp"
#include "idl/runtime/ref.hpp"

namespace basalt::xenapi {

/// One event as clients get it: all texts, the class in lower case, no snapshot for `del`.
struct WireEvent {
    std::string id;
    std::string timestamp = "0.0";
    std::string class_name;
    std::string operation;
    Uuid ref;
    AnyRecord snapshot;

    friend bool operator==(const WireEvent&, const WireEvent&) = default;
};

/// The answer of event.from, which is a struct although the data model calls it a set of events.
struct EventBatch {
    /// Rows of one class, by its index in classes().
    struct Count {
        std::uint16_t class_index = 0;
        std::int64_t rows = 0;

        friend bool operator==(const Count&, const Count&) = default;
    };

    std::vector<WireEvent> events;
    /// One per class; those left out count 0. Written in the order clients know.
    std::vector<Count> valid_ref_counts;
    std::string token;

    friend bool operator==(const EventBatch&, const EventBatch&) = default;
};

}  // namespace basalt::xenapi
