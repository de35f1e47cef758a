#pragma once
#include "base/wait.hpp"
#include "xapi/core/core.hpp"
#include "xapi/rpc/call_text.hpp"
#include "xapi/rpc/connection.hpp"
#include "xapi/rpc/implicit.hpp"

namespace basalt::server {

class LargeText;

/// Turns answers into text on the wire. Small ones go in one piece; large ones are rendered from
/// their immutable rows piece by piece as the client takes them, a few at once, callers in turn.
/// Loop only.
class AnswerWriter {
  public:
    static constexpr std::size_t whole_max = std::size_t{64} * 1024;
    /// Rendered and written while it is in the processor's cache.
    static constexpr std::size_t piece = std::size_t{64} * 1024;

    explicit AnswerWriter(core::Core& core);

    /// Writes a small answer, or nothing: returns what is left to be written of it, nullopt when it
    /// is none of the small ones. Costs no coroutine, where the peer takes it.
    std::optional<std::string> write_now(Exchange& exchange, const MethodCall& call,
                                         const Answer& answer);

    /// `who` is whose turns the work takes.
    Task<void> write(Exchange& exchange, const MethodCall& call, Answer answer,
                     core::Contender who);

  private:
    Task<void> write_text(Exchange& exchange, const MethodCall& call, std::string text,
                          core::Contender who);
    /// Writes in pieces what is over `whole_max`, at once what is not.
    Task<void> write_large(Exchange& exchange, const MethodCall& call, LargeText& text,
                           core::Contender who);
    Task<std::size_t> measure(LargeText& text, core::Contender who);
    Task<std::size_t> measure_by_rendering(LargeText& text, std::vector<std::size_t> items,
                                           core::Contender who);
    Task<void> write_pieces(Exchange& exchange, const LargeText& text, core::Contender who);
    Task<void> write_piece(Exchange& exchange, const std::string& bytes,
                           core::FairGate::Place& place);

    core::Core& core_;
    core::FairGate large_;
    core::FairGate bytes_;
};

}  // namespace basalt::server
