#pragma once
#include <cstdint>
#include <deque>
#include <utility>

#include "base/wait.hpp"

namespace basalt::domain {

/// A line before as many places as there are at the moment: who holds one works, the rest wait,
/// first come, first served. Loop only; must outlive what it gave out.
class LoginPlaces {
  public:
    explicit LoginPlaces(Loop& loop) : freed_(loop) {}

    class Held {
      public:
        Held(Held&& other) noexcept : places_(std::exchange(other.places_, nullptr)) {}

        Held& operator=(Held&&) = delete;

        ~Held() {
            if (places_ != nullptr) places_->give_back();
        }

      private:
        friend class LoginPlaces;

        explicit Held(LoginPlaces& places) : places_(&places) {}

        LoginPlaces* places_;
    };

    /// `places` may differ from call to call; there is always one. Cancellable while waiting.
    Task<Held> hold(std::int64_t places);

    [[nodiscard]] std::int64_t used() const { return used_; }

    [[nodiscard]] std::size_t waiting() const { return line_.size(); }

  private:
    class InLine;
    void give_back();

    Signal freed_;
    std::deque<std::uint64_t> line_;
    std::uint64_t last_ticket_ = 0;
    std::int64_t used_ = 0;
};

}  // namespace basalt::domain
