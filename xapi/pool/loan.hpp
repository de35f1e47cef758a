#pragma once
#include <memory>

#include "base/stream.hpp"
#include "base/wait.hpp"

namespace basalt::pool {

/// Lends the stream of a connection, which ends with its handler, to somebody who lives longer: the
/// handler waits until it has been given back. Loop only.
class Loan {
  public:
    Loan(Loop& loop, Stream& stream);
    ~Loan();
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;

    /// The stream for the borrower; once.
    [[nodiscard]] std::unique_ptr<Stream> stream();
    /// Ends the loan: what the borrower does with the stream fails from now on. Idempotent.
    void recall();
    /// Returns when the borrower has closed or dropped the stream and none of its reads and writes
    /// is under way. Cancelling recalls the loan.
    Task<void> given_back();

    struct State;

  private:
    std::shared_ptr<State> state_;
};

}  // namespace basalt::pool
