#pragma once
#include "base/loop.hpp"
#include "base/stream.hpp"

namespace basalt::server {

/// Closes a stream when a step takes too long. One timer serves all steps of a connection, so that
/// setting a limit costs nothing. Loop only; the stream outlives it.
class Deadline {
  public:
    Deadline(Loop& loop, Stream& stream) : loop_(loop), stream_(stream) {}

    Deadline(const Deadline&) = delete;
    Deadline& operator=(const Deadline&) = delete;

    ~Deadline() {
        if (armed_) loop_.cancel(timer_);
    }

    void set(Duration limit) {
        expires_ = loop_.now() + limit;
        if (armed_ && fires_ <= expires_) return;
        if (armed_) loop_.cancel(timer_);
        arm();
    }

    void clear() { expires_ = Time::max(); }

    [[nodiscard]] bool expired() const { return expired_; }

  private:
    void arm() {
        armed_ = true;
        fires_ = expires_;
        timer_ = loop_.at(fires_, [this] {
            armed_ = false;
            if (expires_ == Time::max()) return;
            if (loop_.now() < expires_) return arm();
            expired_ = true;
            stream_.close();
        });
    }

    Loop& loop_;
    Stream& stream_;
    Time expires_ = Time::max();
    Time fires_{};
    Loop::TimerId timer_ = 0;
    bool armed_ = false;
    bool expired_ = false;
};

}  // namespace basalt::server
