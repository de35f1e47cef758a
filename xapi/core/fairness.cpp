#include "xapi/core/fairness.hpp"

#include <algorithm>
#include <boost/system/system_error.hpp>

namespace basalt::core {

namespace {

constexpr Duration slice_time = std::chrono::microseconds(250);
constexpr int small_of_round = 8;

bool anybody(const std::string& /*peer*/) {
    return true;
}

/// One who waits; whoever lets it go on sets `admitted` first.
struct Waiter {
    explicit Waiter(Loop& loop) : moved(loop) {}

    Signal moved;
    bool admitted = false;
    bool small = false;
    std::string peer;
    std::uint64_t units = 0;
};

using Waiters = std::map<FairLines::Ticket, std::shared_ptr<Waiter>>;

void admit(const std::shared_ptr<Waiter>& waiter) {
    waiter->admitted = true;
    waiter->moved.notify_all();
}

/// Waits for admission. A cancel that comes first throws and leaves the line; one that comes after
/// the admission leaves the admission with the caller.
Task<void> wait_in_line(FairLines& lines, Waiters& waiters, Contender who, FairLines::Ticket ticket,
                        std::shared_ptr<Waiter> waiter) {
    std::exception_ptr failure;
    try {
        while (!waiter->admitted)
            co_await waiter->moved.wait();
    } catch (const boost::system::system_error&) {
        failure = std::current_exception();
    }
    waiters.erase(ticket);
    if (!failure) co_return;
    lines.erase(who, ticket);
    std::rethrow_exception(failure);
}

}  // namespace

void FairLines::push(const Contender& who, Ticket ticket) {
    auto [place, fresh] = by_name_.try_emplace(who.peer);
    if (fresh) place->second = peers_.insert(peers_.end(), Peer{who.peer, {}});
    auto& sessions = place->second->sessions;
    auto session = std::ranges::find(sessions, who.session, &Session::name);
    if (session == sessions.end())
        session = sessions.insert(sessions.end(), Session{who.session, {}});
    session->tickets.push_back(ticket);
}

std::optional<FairLines::Ticket> FairLines::pop(
    const std::function<bool(const std::string& peer)>& may) {
    for (auto peer = peers_.begin(); peer != peers_.end(); ++peer)
        if (may(peer->name)) return take_first(peer);
    return std::nullopt;
}

/// Takes the peer's next ticket and puts the peer, and of it the session, at the end of the line.
FairLines::Ticket FairLines::take_first(Peers::iterator peer) {
    auto& sessions = peer->sessions;
    const Ticket ticket = sessions.front().tickets.front();
    sessions.front().tickets.pop_front();
    if (sessions.front().tickets.empty()) {
        sessions.pop_front();
    } else {
        sessions.splice(sessions.end(), sessions, sessions.begin());
    }
    if (sessions.empty()) {
        by_name_.erase(peer->name);
        peers_.erase(peer);
    } else {
        peers_.splice(peers_.end(), peers_, peer);
    }
    return ticket;
}

bool FairLines::erase(const Contender& who, Ticket ticket) {
    const auto place = by_name_.find(who.peer);
    if (place == by_name_.end()) return false;
    auto& sessions = place->second->sessions;
    const auto session = std::ranges::find(sessions, who.session, &Session::name);
    if (session == sessions.end() || std::erase(session->tickets, ticket) == 0) return false;
    if (session->tickets.empty()) sessions.erase(session);
    if (sessions.empty()) {
        peers_.erase(place->second);
        by_name_.erase(place);
    }
    return true;
}

struct FairTurns::State : std::enable_shared_from_this<State> {
    explicit State(Loop& owner) : loop(owner) {}

    Loop& loop;
    FairLines lines;
    Waiters waiters;
    FairLines::Ticket last_ticket = 0;
    bool taken = false;
    Time small_since{};

    /// This round's turn is given; the next one comes after all that is ready now.
    void take() {
        taken = true;
        loop.post([weak = weak_from_this()] {
            if (const auto state = weak.lock()) state->advance();
        });
    }

    void advance() {
        auto ticket = lines.pop(anybody);
        if (!ticket) {
            taken = false;
            return;
        }
        // Small work comes in batches, or each would cost a round of the loop.
        for (int left = small_of_round; ticket; ticket = lines.pop(anybody)) {
            const std::shared_ptr<Waiter> waiter = waiters.at(*ticket);
            admit(waiter);
            if (!waiter->small || --left == 0) break;
        }
        take();
    }
};

FairTurns::FairTurns(Loop& loop) : state_(std::make_shared<State>(loop)) {}

FairTurns::~FairTurns() = default;

bool FairTurns::at_once() {
    State& state = *state_;
    if (state.taken) return false;
    const Time now = state.loop.now();
    if (now - state.small_since < slice_time) return true;
    // From here on the others of this round wait in line, and so take turns.
    state.small_since = now;
    state.take();
    return true;
}

Task<void> FairTurns::next(Contender who, Work work) {
    const auto state = state_;
    if (!state->taken) {
        state->take();
        co_return;
    }
    const FairLines::Ticket ticket = ++state->last_ticket;
    const auto waiter = std::make_shared<Waiter>(state->loop);
    waiter->small = work == Work::small;
    state->waiters.emplace(ticket, waiter);
    state->lines.push(who, ticket);
    co_await wait_in_line(state->lines, state->waiters, std::move(who), ticket, waiter);
}

std::size_t FairTurns::waiting() const {
    return state_->waiters.size();
}

struct FairGate::State {
    State(Loop& owner, std::uint64_t max, std::uint64_t max_of_peer)
        : loop(owner), units_max(max), units_max_of_peer(std::min(max, max_of_peer)) {}

    Loop& loop;
    std::uint64_t units_max;
    std::uint64_t units_max_of_peer;
    std::uint64_t in_use = 0;
    std::map<std::string, std::uint64_t> in_use_of_peer;
    FairLines lines;
    Waiters waiters;
    FairLines::Ticket last_ticket = 0;

    [[nodiscard]] std::uint64_t used_by(const std::string& peer) const {
        const auto found = in_use_of_peer.find(peer);
        return found == in_use_of_peer.end() ? 0 : found->second;
    }

    [[nodiscard]] bool fits(const std::string& peer, std::uint64_t units) const {
        return in_use + units <= units_max && used_by(peer) + units <= units_max_of_peer;
    }

    void hold(const std::string& peer, std::uint64_t units) {
        in_use += units;
        in_use_of_peer[peer] += units;
    }

    void give_back(const std::string& peer, std::uint64_t units) {
        in_use -= units;
        const auto found = in_use_of_peer.find(peer);
        if ((found->second -= units) == 0) in_use_of_peer.erase(found);
        admit_who_may();
    }

    /// Any room at all lets the next in turn in, however much it asks for, so that small ones do
    /// not overtake it for ever: the sum may pass the limit by less than one asks for.
    void admit_who_may() {
        while (!lines.empty() && in_use < units_max) {
            const auto ticket = lines.pop(
                [this](const std::string& peer) { return used_by(peer) < units_max_of_peer; });
            if (!ticket) return;
            const auto waiter = waiters.at(*ticket);
            hold(waiter->peer, waiter->units);
            admit(waiter);
        }
    }
};

FairGate::Place::Place(std::shared_ptr<State> state, std::string peer, std::uint64_t units)
    : state_(std::move(state)), peer_(std::move(peer)), units_(units) {}

FairGate::Place::Place(Place&& other) noexcept
    : state_(std::move(other.state_)), peer_(std::move(other.peer_)), units_(other.units_) {}

FairGate::Place& FairGate::Place::operator=(Place&& other) noexcept {
    if (this == &other) return *this;
    give_back();
    state_ = std::move(other.state_);
    peer_ = std::move(other.peer_);
    units_ = other.units_;
    return *this;
}

FairGate::Place::~Place() {
    give_back();
}

void FairGate::Place::give_back() {
    if (const auto state = std::exchange(state_, nullptr)) state->give_back(peer_, units_);
}

FairGate::FairGate(Loop& loop, std::uint64_t units_max, std::uint64_t units_max_of_peer)
    : state_(std::make_shared<State>(loop, units_max, units_max_of_peer)) {}

FairGate::~FairGate() = default;

Task<FairGate::Place> FairGate::enter(Contender who, std::uint64_t units) {
    const auto state = state_;
    units = std::min(units, state->units_max_of_peer);
    const std::string peer = who.peer;
    if (state->lines.empty() && state->fits(peer, units)) {
        state->hold(peer, units);
        co_return Place(state, peer, units);
    }
    const FairLines::Ticket ticket = ++state->last_ticket;
    const auto waiter = std::make_shared<Waiter>(state->loop);
    waiter->peer = peer;
    waiter->units = units;
    state->waiters.emplace(ticket, waiter);
    state->lines.push(who, ticket);
    state->admit_who_may();  // those in front may wait for no more than their own peer's share
    std::exception_ptr failure;
    try {
        co_await wait_in_line(state->lines, state->waiters, std::move(who), ticket, waiter);
    } catch (const boost::system::system_error&) {
        failure = std::current_exception();
    }
    if (failure && waiter->admitted) state->give_back(peer, units);
    if (failure) std::rethrow_exception(failure);
    co_return Place(state, peer, units);
}

std::uint64_t FairGate::in_use() const {
    return state_->in_use;
}

}  // namespace basalt::core
