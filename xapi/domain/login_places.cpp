#include "xapi/domain/login_places.hpp"

#include <algorithm>

namespace basalt::domain {

/// Leaves the line however the wait ends; those behind look again.
class LoginPlaces::InLine {
  public:
    explicit InLine(LoginPlaces& places) : places_(places), ticket_(++places.last_ticket_) {
        places_.line_.push_back(ticket_);
    }

    InLine(const InLine&) = delete;
    InLine& operator=(const InLine&) = delete;

    ~InLine() {
        std::erase(places_.line_, ticket_);
        places_.freed_.notify_all();
    }

    [[nodiscard]] bool is_first() const { return places_.line_.front() == ticket_; }

  private:
    LoginPlaces& places_;
    std::uint64_t ticket_;
};

Task<LoginPlaces::Held> LoginPlaces::hold(std::int64_t places) {
    const InLine turn(*this);
    while (!turn.is_first() || used_ >= std::max<std::int64_t>(places, 1))
        co_await freed_.wait();
    ++used_;
    co_return Held(*this);
}

void LoginPlaces::give_back() {
    --used_;
    freed_.notify_all();
}

}  // namespace basalt::domain
