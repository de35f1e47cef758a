#pragma once
#include "base/loop.hpp"
#include "base/stream.hpp"
#include "xapi/core/limits.hpp"

namespace basalt::server {

/// Closes a stream when a step takes too long, and counts the limit that it was. One timer serves
/// all steps of a connection, so that setting a limit costs nothing. Loop only; the stream and the
/// limits outlive it.
class Deadline {
  public:
    Deadline(Loop& loop, Stream& stream, Limits& limits)
        : loop_(loop), stream_(stream), limits_(limits) {}

    Deadline(const Deadline&) = delete;
    Deadline& operator=(const Deadline&) = delete;

    ~Deadline() {
        if (armed_) loop_.cancel(timer_);
    }

    /// The step that begins now may take as long as that limit of time says.
    void set(Limit limit) { set_at(loop_.now() + limits_.time(limit), limit); }

    /// `limit` is what is counted when `when` passes.
    void set_at(Time when, Limit limit) {
        expires_ = when;
        limit_ = limit;
        if (armed_ && fires_ <= expires_) return;
        if (armed_) loop_.cancel(timer_);
        arm();
    }

    void clear() { expires_ = Time::max(); }

  private:
    void arm() {
        armed_ = true;
        fires_ = expires_;
        timer_ = loop_.at(fires_, [this] {
            armed_ = false;
            if (expires_ == Time::max()) return;
            if (loop_.now() < expires_) return arm();
            limits_.exceeded(limit_);
            stream_.close();
        });
    }

    Loop& loop_;
    Stream& stream_;
    Limits& limits_;
    Limit limit_ = Limit::idle_time;
    Time expires_ = Time::max();
    Time fires_{};
    Loop::TimerId timer_ = 0;
    bool armed_ = false;
};

}  // namespace basalt::server
