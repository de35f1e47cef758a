#pragma once
#include <memory>
#include <string>

#include "xapi/rpc/call_text.hpp"
#include "xapi/rpc/implicit.hpp"

namespace basalt::server {

/// An answer's text as a sequence of items that are rendered one by one, in any order and as often
/// as needed, always to the same bytes. Owns what it is rendered from, which is immutable.
class LargeText {
  public:
    virtual ~LargeText() = default;
    [[nodiscard]] virtual std::size_t items() const = 0;
    /// What stands before the first item and after the last.
    virtual void begin(std::string& out) const = 0;
    virtual void end(std::string& out) const = 0;
    /// Item number `index` with what separates it from the one before. Any thread.
    virtual void append(std::size_t index, std::string& out) const = 0;
    /// How many bytes `append` makes of it, if that is known without rendering; 0: it is not. Loop
    /// only.
    [[nodiscard]] virtual std::size_t known_bytes(std::size_t index) = 0;
    /// It was rendered: so many bytes. Rows keep that for the next answer. Loop only.
    virtual void note_bytes(std::size_t index, std::size_t bytes) = 0;
};

/// The rows of a class, as records or references.
[[nodiscard]] std::unique_ptr<LargeText> rows_text(const MethodCall& call, RowSet rows);
/// Whether it is an answer of event.from with many events.
[[nodiscard]] bool is_large(const xenapi::Reply& reply);
/// The answer of event.from; null when the reply is anything else or has few events. `db` outlives
/// it.
[[nodiscard]] std::unique_ptr<LargeText> events_text(const MethodCall& call, xenapi::Reply reply,
                                                     const db::Database& db);

}  // namespace basalt::server
