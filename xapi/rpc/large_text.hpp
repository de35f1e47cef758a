#pragma once
#include <memory>
#include <string>

#include "xapi/rpc/call_text.hpp"
#include "xapi/rpc/implicit.hpp"

namespace basalt::server {

/// An answer's text as a sequence of items that are rendered one by one, in any order and as often
/// as needed, always to the same bytes.
class LargeText {
  public:
    virtual ~LargeText() = default;
    [[nodiscard]] virtual std::size_t items() const = 0;
    /// What stands before the first item and after the last.
    virtual void begin(std::string& out) const = 0;
    virtual void end(std::string& out) const = 0;
    /// Item number `index` with what separates it from the one before.
    virtual void append(std::size_t index, std::string& out) const = 0;
    /// How many bytes `append` makes of it, if that is known without rendering; 0: it is not.
    [[nodiscard]] virtual std::size_t known_bytes(std::size_t index) const = 0;
};

/// The rows of a class, as records or references. `call` and `rows` outlive it.
[[nodiscard]] std::unique_ptr<LargeText> rows_text(const MethodCall& call, const RowSet& rows);
/// Whether it is an answer of event.from with many events.
[[nodiscard]] bool is_large(const xenapi::Reply& reply);
/// The answer of event.from; null when the reply is anything else or has few events.
[[nodiscard]] std::unique_ptr<LargeText> events_text(const MethodCall& call,
                                                     const xenapi::Reply& reply);

}  // namespace basalt::server
