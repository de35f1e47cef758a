#pragma once
#include <map>
#include <string>
#include <vector>

#include "idl/runtime/event_batch.hpp"
#include "xapi/core/call.hpp"

namespace basalt::core {

/// event.from and the older register/next, read from the generations of the rows: no queue per
/// client.
class Events {
  public:
    explicit Events(Core& core) : core_(core) {}

    /// Long poll: returns at once when something subscribed changed after `token`, else when it
    /// does or when `timeout` seconds are over. EVENT_FROM_TOKEN_PARSE_FAILURE,
    /// EVENT_SUBSCRIPTION_PARSE_FAILURE, EVENTS_LOST, SESSION_INVALID when the caller's session
    /// ends meanwhile.
    Task<xenapi::EventBatch> from(Call& call, std::vector<std::string> classes, std::string token,
                                  double timeout);

    /// Makes a change event of an unchanged object; answers a token from just before it.
    std::string inject(const std::string& cls, const std::string& ref);

    void subscribe(xenapi::Ref<xenapi::Session> session, const std::vector<std::string>& classes);
    void unsubscribe(xenapi::Ref<xenapi::Session> session, const std::vector<std::string>& classes);
    /// SESSION_NOT_REGISTERED, EVENTS_LOST.
    Task<std::vector<xenapi::WireEvent>> next(Call& call);
    /// For event.get_current_id.
    [[nodiscard]] std::int64_t current_id() const;

  private:
    struct Subscription {
        std::vector<bool> classes;  // by class index
        std::vector<std::pair<std::uint16_t, Uuid>> objects;
        [[nodiscard]] bool wants(std::uint16_t cls, const Uuid& ref) const;
    };

    struct Registration {
        Subscription subscription;
        db::Generation seen = 0;
        std::int64_t last_id = 0;
    };

    static Subscription parse(const std::vector<std::string>& classes);
    struct Changes;
    [[nodiscard]] Changes changes(const Subscription& subscription, db::Generation after) const;
    /// What has changed until now.
    Task<std::vector<xenapi::WireEvent>> collect(Call& call, const Subscription& subscription,
                                                 db::Generation after) const;
    [[nodiscard]] std::vector<xenapi::EventBatch::Count> row_counts() const;
    void number(xenapi::Ref<xenapi::Session> session, std::vector<xenapi::WireEvent>& events);
    Task<void> wait_for_change(Call& call, db::Generation after, Duration limit);

    Core& core_;
    std::map<xenapi::Ref<xenapi::Session>, Registration> registrations_;
};

}  // namespace basalt::core
