#pragma once
#include "base/wait.hpp"
#include "xapi/rpc/call_text.hpp"
#include "xapi/rpc/connection.hpp"
#include "xapi/rpc/implicit.hpp"

namespace basalt::server {

/// Turns answers into text on the wire. Small ones go in one piece; large ones are rendered from
/// their immutable rows piece by piece as the client takes them, a few at once. Loop only.
class AnswerWriter {
  public:
    static constexpr std::size_t whole_max = std::size_t{64} * 1024;
    static constexpr std::size_t piece = std::size_t{32} * 1024;
    static constexpr int large_at_once_max = 4;

    explicit AnswerWriter(Loop& loop) : loop_(loop), ended_(loop) {}

    Task<void> write(Exchange& exchange, const MethodCall& call, const Answer& answer);

  private:
    Task<std::size_t> measure(const MethodCall& call, const RowSet& rows);
    Task<void> write_pieces(Exchange& exchange, const MethodCall& call, const RowSet& rows,
                            std::size_t length);

    Loop& loop_;
    int large_ = 0;
    Signal ended_;
};

}  // namespace basalt::server
