#include "xapi/domain/messages.hpp"

#include "xapi/db/txn.hpp"

namespace basalt::domain {

namespace {
constexpr std::size_t messages_max = 10'000;
}

void post_message(core::Core& core, db::Txn& txn, std::string name, std::int64_t priority,
                  xenapi::Cls cls, std::string uuid, std::string body) {
    if (core.db.count(xenapi::class_of<xenapi::Message>()) >= messages_max) {
        xenapi::Ref<xenapi::Message> oldest;
        txn.each<xenapi::Message>([&](xenapi::Ref<xenapi::Message> ref, const xenapi::Message&) {
            if (!oldest) oldest = ref;  // in order of creation
        });
        if (oldest) txn.erase(oldest);
    }
    xenapi::Message row;
    row.name = std::move(name);
    row.priority = priority;
    row.cls = cls;
    row.obj_uuid = std::move(uuid);
    row.body = std::move(body);
    row.timestamp = xenapi::DateTime{core.now_seconds()};
    txn.insert(std::move(row));
}

}  // namespace basalt::domain
