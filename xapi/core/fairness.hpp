#pragma once
#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/wait.hpp"

namespace basalt::core {

/// Between whom turns are shared: equally between peers (addresses), then equally between the
/// sessions of a peer. A session counts only once it is known to be valid, or callers could make
/// up as many as they like.
struct Contender {
    std::string peer;
    std::string session;
};

/// Who waits for a turn. No clock, no coroutine: the order alone.
class FairLines {
  public:
    using Ticket = std::uint64_t;

    void push(const Contender& who, Ticket ticket);
    /// The next in turn whose peer `may` go now; nullopt: nobody.
    std::optional<Ticket> pop(const std::function<bool(const std::string& peer)>& may);
    /// Whether it was waiting.
    bool erase(const Contender& who, Ticket ticket);

    [[nodiscard]] bool empty() const { return peers_.empty(); }

  private:
    struct Session {
        std::string name;
        std::deque<Ticket> tickets;
    };

    struct Peer {
        std::string name;
        std::list<Session> sessions;  // the next in turn first
    };

    using Peers = std::list<Peer>;

    Ticket take_first(Peers::iterator peer);

    Peers peers_;  // the next in turn first
    std::map<std::string, Peers::iterator> by_name_;
};

/// One bounded slice of work a round of the loop: who has more to do asks for a turn before each
/// slice. With n contenders a caller waits for n-1 slices of others, however much they ask for.
/// Loop only.
class FairTurns {
  public:
    explicit FairTurns(Loop& loop);
    ~FairTurns();
    FairTurns(const FairTurns&) = delete;
    FairTurns& operator=(const FairTurns&) = delete;

    /// What a turn is for: about a quarter of a millisecond, or mostly a tenth of that (the start
    /// of a call), of which several fit into a round.
    enum class Work { slice, small };

    /// Returns when the turn has come; at once when nobody else had one in this round. Cancellable.
    Task<void> next(Contender who, Work work = Work::slice);

    /// Whether small work may go on without a turn: nobody has one, and small work has not gone on
    /// like this for a slice's time.
    [[nodiscard]] bool at_once();

    [[nodiscard]] std::size_t waiting() const;

    struct State;

  private:
    std::shared_ptr<State> state_;
};

/// A number of places (or bytes) that are held for a while. Places that become free go round the
/// contenders in turn. Loop only.
class FairGate {
  public:
    FairGate(Loop& loop, std::uint64_t units_max, std::uint64_t units_max_of_peer);
    ~FairGate();
    FairGate(const FairGate&) = delete;
    FairGate& operator=(const FairGate&) = delete;

    struct State;

    /// What is held; gives it back when it goes. Holds nothing when default-made.
    class Place {
      public:
        Place() = default;
        Place(std::shared_ptr<State> state, std::string peer, std::uint64_t units);
        Place(Place&& other) noexcept;
        Place& operator=(Place&& other) noexcept;
        ~Place();

        /// Idempotent.
        void give_back();

        [[nodiscard]] bool held() const { return state_ != nullptr; }

      private:
        std::shared_ptr<State> state_;
        std::string peer_;
        std::uint64_t units_ = 0;
    };

    /// Waits until there is room. More units than there are at all count as all. Cancellable.
    Task<Place> enter(Contender who, std::uint64_t units = 1);

    [[nodiscard]] std::uint64_t in_use() const;

  private:
    std::shared_ptr<State> state_;
};

/// How often something may happen: `burst` at once, then `rate` a second. A state machine without
/// a clock.
class RateLimit {
  public:
    RateLimit(double rate_per_second, double burst, Time now)
        : rate_(rate_per_second), burst_(burst), tokens_(burst), filled_(now) {}

    /// Takes one and says how long to wait before it may be used; zero: now.
    Duration take(Time now) {
        refill(now);
        tokens_ -= 1;
        if (tokens_ >= 0) return Duration::zero();
        return std::chrono::duration_cast<Duration>(
            std::chrono::duration<double>(-tokens_ / rate_));
    }

    /// Whether nothing was taken lately: the state need not be kept.
    [[nodiscard]] bool full(Time now) {
        refill(now);
        return tokens_ >= burst_;
    }

  private:
    void refill(Time now) {
        const double seconds = std::chrono::duration<double>(now - filled_).count();
        tokens_ = std::min(burst_, tokens_ + seconds * rate_);
        filled_ = now;
    }

    double rate_;
    double burst_;
    double tokens_;
    Time filled_;
};

}  // namespace basalt::core
