#include "xapi/domain/small.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <format>
#include <limits>
#include <optional>

#include "idl/errors.hpp"
#include "idl/records/message.hpp"
#include "idl/records/role.hpp"
#include "idl/records/secret.hpp"
#include "idl/runtime/enum_text.hpp"
#include "xapi/core/expression.hpp"
#include "xapi/domain/messages.hpp"
#include "xapi/domain/subjects.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

std::vector<unsigned char> digest_of(std::string_view name, const EVP_MD* kind) {
    std::vector<unsigned char> digest(EVP_MAX_MD_SIZE);
    unsigned length = 0;
    EVP_Digest(name.data(), name.size(), digest.data(), &length, kind, nullptr);
    digest.resize(length);
    return digest;
}

// A uuid made from a name: the first 16 bytes of its digest.
Uuid named_uuid(std::string_view name) {
    const std::vector<unsigned char> digest = digest_of(name, EVP_sha256());
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        high = high << 8U | digest.at(i);
        low = low << 8U | digest.at(8 + i);
    }
    return Uuid::from_words(high, low);
}

// The default of subject.roles is the MD5 of `pool-admin` (datamodel), so all roles' references are
// such digests, which are no uuids of any version.
Ref<Role> role_ref(std::string_view name) {
    std::string text;
    for (const unsigned char byte : digest_of(name, EVP_md5())) {
        const std::size_t size = text.size();
        if (size == 8 || size == 13 || size == 18 || size == 23) text += '-';
        text += std::format("{:02x}", byte);
    }
    return Ref<Role>(Uuid::parse(text).value_or(Uuid{}));
}

std::vector<Ref<Role>> roles_with(const db::Database& db, const std::string& permission) {
    std::vector<Ref<Role>> found;
    db.each<Role>([&](Ref<Role> ref, const Role& row) {
        const std::vector<std::string> permissions = permissions_of(role_mask(row));
        if (std::ranges::binary_search(permissions, permission)) found.push_back(ref);
    });
    return found;
}

void require_known(const db::Database& db, Cls cls, const std::string& uuid) {
    // The words of the enumeration are names of classes but for their case.
    if (!db.by_uuid(*find_class_any_case(wire_text(cls)), uuid))
        throw err::uuid_invalid(wire_text(cls), uuid);
}

template <class F>
Map<Ref<Message>, Message> messages_where(const db::Database& db, F wanted) {
    Map<Ref<Message>, Message> found;
    db.each<Message>([&](Ref<Message> ref, const Message& row) {
        if (wanted(row)) found.emplace(ref, row);
    });
    return found;
}

/// Which messages destroy_all takes. INVALID_VALUE for a filter that it does not know.
class MessageFilter {
  public:
    explicit MessageFilter(const Map<std::string, std::string>& filters) {
        for (const auto& [key, value] : filters) {
            if (key == "before") {
                before_ = moment(key, value);
            } else if (key == "after") {
                after_ = moment(key, value);
            } else if (key == "priority") {
                priority_ = number(key, value);
            } else {
                throw err::invalid_value("filters", key);
            }
        }
    }

    [[nodiscard]] bool takes(const Message& row) const {
        const std::int64_t at = row.timestamp.seconds;
        return (!before_ || at < *before_) && (!after_ || at > *after_) &&
               (!priority_ || row.priority == *priority_);
    }

  private:
    static std::int64_t moment(const std::string& key, const std::string& value) {
        const auto parsed = DateTime::parse(value);
        if (!parsed) throw err::invalid_value(key, value);
        return parsed->seconds;
    }

    static std::int64_t number(const std::string& key, const std::string& value) {
        std::int64_t out = 0;
        const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), out);
        if (failed != std::errc{} || end != value.data() + value.size())
            throw err::invalid_value(key, value);
        return out;
    }

    std::optional<std::int64_t> before_;
    std::optional<std::int64_t> after_;
    std::optional<std::int64_t> priority_;
};

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
    require_known(core_.db, params.cls, params.obj_uuid);
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

Task<void> MessageDomain::destroy_all(Call&, MessageDestroyAll params) {
    const MessageFilter filter(params.filters);
    core_.db.transact([&](db::Txn& txn) {
        txn.each<Message>([&](Ref<Message> ref, const Message& row) {
            if (filter.takes(row)) txn.erase(ref);
        });
    });
    co_return;
}

Task<Map<Ref<Message>, Message>> MessageDomain::get(Call&, MessageGet params) {
    require_known(core_.db, params.cls, params.obj_uuid);
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

Task<Map<Ref<Message>, Message>> MessageDomain::get_all_records_where(
    Call&, MessageGetAllRecordsWhere params) {
    const core::Expression expression(params.expr);
    Map<Ref<Message>, Message> found;
    core_.db.each<Message>([&](Ref<Message> ref, const Message& row) {
        if (expression.holds(class_of<Message>(), ref.uuid(), &row)) found.emplace(ref, row);
    });
    co_return found;
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
    co_return permissions_of(role_mask(core_.db.get(params.self)));
}

Task<std::vector<Ref<Role>>> RoleDomain::get_by_permission_name_label(
    Call&, RoleGetByPermissionNameLabel params) {
    co_return roles_with(core_.db, params.label);
}

Task<std::vector<Ref<Role>>> RoleDomain::get_permissions(Call&, RoleGetPermissions params) {
    std::vector<Ref<Role>> out;
    for (const std::string& name : permissions_of(role_mask(core_.db.get(params.self))))
        out.push_back(role_ref(name));
    co_return out;
}

Task<std::vector<Ref<Role>>> RoleDomain::get_by_permission(Call&, RoleGetByPermission params) {
    // All permissions are somebody's.
    for (const std::string& name : permissions_of(std::numeric_limits<RoleMask>::max()))
        if (role_ref(name) == params.permission) co_return roles_with(core_.db, name);
    throw err::handle_invalid("role", params.permission);
}

void insert_roles(db::Txn& txn) {
    for (const std::string_view name : role_names()) {
        const Ref<Role> ref = role_ref(name);
        if (txn.find(ref) != nullptr) continue;
        txn.each<Role>([&](Ref<Role> old, const Role& row) {
            if (row.name_label == name) txn.erase(old);
        });
        Role row;
        row.uuid = named_uuid("role uuid " + std::string(name)).text();
        row.name_label = std::string(name);
        row.name_description = "The " + std::string(name) + " role";
        txn.insert_as(ref, std::move(row));
    }
}

}  // namespace basalt::domain
