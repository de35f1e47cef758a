#include "xapi/domain/small.hpp"

#include <openssl/evp.h>

#include <array>

#include "idl/errors.hpp"
#include "idl/records/message.hpp"
#include "idl/records/role.hpp"
#include "idl/records/secret.hpp"
#include "xapi/domain/messages.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

// A reference made from a name: 16 bytes of its digest.
Uuid named_uuid(std::string_view name) {
    std::array<unsigned char, 32> digest{};
    unsigned length = 0;
    EVP_Digest(name.data(), name.size(), digest.data(), &length, EVP_sha256(), nullptr);
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        high = high << 8U | digest.at(i);
        low = low << 8U | digest.at(8 + i);
    }
    return Uuid::from_words(high, low);
}

template <class F>
Map<Ref<Message>, Message> messages_where(const db::Database& db, F wanted) {
    Map<Ref<Message>, Message> found;
    db.each<Message>([&](Ref<Message> ref, const Message& row) {
        if (wanted(row)) found.emplace(ref, row);
    });
    return found;
}

}  // namespace

Task<Ref<Secret>> SecretDomain::create(Call&, SecretCreate params) {
    co_return core_.db.transact([&](db::Txn& txn) { return txn.insert(std::move(params.args)); });
}

Task<Ref<Secret>> SecretDomain::introduce(Call&, SecretIntroduce params) {
    co_return core_.db.transact([&](db::Txn& txn) {
        Secret row;
        row.uuid = params.uuid;
        row.value = params.value;
        row.other_config = params.other_config;
        return txn.insert(std::move(row));
    });
}

Task<void> SecretDomain::destroy(Call&, SecretDestroy params) {
    core_.db.transact([&](db::Txn& txn) { txn.erase(params.self); });
    co_return;
}

Task<Ref<Message>> MessageDomain::create(Call&, MessageCreate params) {
    co_return core_.db.transact([&](db::Txn& txn) {
        Message row;
        row.name = params.name;
        row.priority = params.priority;
        row.cls = params.cls;
        row.obj_uuid = params.obj_uuid;
        row.body = params.body;
        row.timestamp = DateTime{core_.now_seconds()};
        return txn.insert(std::move(row));
    });
}

Task<void> MessageDomain::destroy(Call&, MessageDestroy params) {
    core_.db.transact([&](db::Txn& txn) { txn.erase(params.self); });
    co_return;
}

Task<void> MessageDomain::destroy_many(Call&, MessageDestroyMany params) {
    core_.db.transact([&](db::Txn& txn) {
        for (const auto message : params.messages)
            txn.erase(message);
    });
    co_return;
}

Task<Map<Ref<Message>, Message>> MessageDomain::get(Call&, MessageGet params) {
    co_return messages_where(core_.db, [&](const Message& row) {
        return row.cls == params.cls && row.obj_uuid == params.obj_uuid &&
               row.timestamp.seconds > params.since.seconds;
    });
}

Task<Map<Ref<Message>, Message>> MessageDomain::get_since(Call&, MessageGetSince params) {
    co_return messages_where(
        core_.db, [&](const Message& row) { return row.timestamp.seconds > params.since.seconds; });
}

Task<std::vector<Ref<Message>>> MessageDomain::get_all(Call&) {
    std::vector<Ref<Message>> found;
    core_.db.each<Message>([&](Ref<Message> ref, const Message&) { found.push_back(ref); });
    co_return found;
}

Task<Map<Ref<Message>, Message>> MessageDomain::get_all_records(Call&) {
    co_return messages_where(core_.db, [](const Message&) { return true; });
}

Task<Ref<Message>> MessageDomain::get_by_uuid(Call&, MessageGetByUuid params) {
    const auto found = core_.db.by_uuid<Message>(params.uuid);
    if (!found) throw err::uuid_invalid("message", params.uuid);
    co_return *found;
}

Task<Message> MessageDomain::get_record(Call&, MessageGetRecord params) {
    co_return core_.db.get(params.self);
}

Task<std::vector<std::string>> RoleDomain::get_permissions_name_label(
    Call&, RoleGetPermissionsNameLabel params) {
    const std::string role = core_.db.get(params.self).name_label;
    RoleMask mask = 0;
    for (std::size_t i = 0; i < role_names().size(); ++i)
        if (role_names()[i] == role) mask = static_cast<RoleMask>(1U << i);
    std::vector<std::string> permissions;
    for (const ClassInfo& cls : classes())
        for (const MessageInfo& message : cls.messages)
            if ((message.roles & mask) != 0) permissions.emplace_back(message.wire_name);
    for (const Permission& extra : extra_permissions())
        if ((extra.roles & mask) != 0) permissions.emplace_back(extra.name);
    co_return permissions;
}

void insert_roles(db::Txn& txn) {
    for (const std::string_view name : role_names()) {
        const Ref<Role> ref(named_uuid("role " + std::string(name)));
        if (txn.find(ref) != nullptr) continue;
        Role row;
        row.uuid = named_uuid("role uuid " + std::string(name)).text();
        row.name_label = std::string(name);
        row.name_description = "The " + std::string(name) + " role";
        txn.insert_as(ref, std::move(row));
    }
}

}  // namespace basalt::domain
