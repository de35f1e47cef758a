#pragma once
// The data model as tables. Everything here is generated constant data: pointers stay good for
// ever.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "idl/runtime/ref.hpp"
#include "idl/runtime/type_ops.hpp"

namespace basalt::xenapi {

/// Bit 0 is the highest role (pool-admin), then down the chain; see role_names().
/// Nobody's bit set: only root on the unix socket and pool sessions may.
using RoleMask = std::uint8_t;

enum class LifeState : std::uint8_t { prototyped, published, deprecated, removed };

struct Lifecycle {
    LifeState state = LifeState::published;
    std::string_view history;  ///< "rio deprecated:george": changes with their releases

    /// The release in which it first appeared.
    [[nodiscard]] std::string_view since() const;
};

enum class Qualifier : std::uint8_t { rw, static_ro, dynamic_ro };

/// durable: before anything that rests on it leaves; lazy: within seconds; volatile_: in memory.
enum class Durability : std::uint8_t { durable, lazy, volatile_ };

/// A key of a map field with roles of its own; a trailing `*` matches any rest.
struct KeyRole {
    std::string_view key;
    RoleMask roles = 0;

    [[nodiscard]] bool matches(std::string_view candidate) const;
};

enum class RelationSide : std::uint8_t {
    none,
    stored,  ///< holds the reference
    mirror,  ///< follows from the stored side of the other class
    both,    ///< many-to-many
};

enum class RelationKind : std::uint8_t { one_to_many, many_to_many, one_to_one };

struct FieldInfo;

struct RelationInfo {
    const FieldInfo* stored;
    const FieldInfo* mirror;
    RelationKind kind;
};

struct FieldInfo {
    std::string_view name;
    std::string_view db_name;    ///< in get_all_records_where expressions
    std::string_view type_text;  ///< "VM ref set"
    const TypeOps* type = nullptr;
    std::uint32_t offset = 0;
    std::uint16_t class_index = no_class;
    std::uint16_t index = 0;  ///< among the fields of its class
    Qualifier qualifier = Qualifier::dynamic_ro;
    bool has_default = false;
    bool internal_only = false;  ///< never on the wire
    bool persisted = true;       ///< the facts' flag; what is stored follows from `durability` too
    bool side_effect = false;    ///< setting it is work for the domain
    Durability durability = Durability::durable;
    RelationSide side = RelationSide::none;
    const RelationInfo* relation = nullptr;
    RoleMask get_roles = 0;
    RoleMask set_roles = 0;
    std::span<const KeyRole> key_roles;
    Lifecycle life;

    [[nodiscard]] void* in(void* record) const { return static_cast<std::byte*>(record) + offset; }

    [[nodiscard]] const void* in(const void* record) const {
        return static_cast<const std::byte*>(record) + offset;
    }

    /// The field at the other end of its relation, or null.
    [[nodiscard]] const FieldInfo* opposite() const;

    /// Whether write_stored() writes it.
    [[nodiscard]] bool stored() const { return persisted && durability != Durability::volatile_; }
};

enum class MessageKind : std::uint8_t {
    custom,
    get,
    set,
    add,
    remove,
    get_record,
    get_by_uuid,
    get_by_name_label,
    get_all,
    get_all_where,
    get_all_records_where,
    get_all_records,
    create,
    destroy,
};

/// Who serves the call: the coordinator only, any host for itself, or any host even in emergency.
enum class Where : std::uint8_t { coordinator, any, emergency };

struct ParamInfo {
    std::string_view name;
    std::string_view type_text;
    const TypeOps* type = nullptr;
    std::uint32_t offset = 0;  ///< in the generated params struct (messages with a thunk)
    bool has_default = false;
};

struct MessageInfo {
    std::string_view wire_name;  ///< "VM.start"
    std::string_view name;       ///< "start"
    std::uint16_t class_index = no_class;
    MessageKind kind = MessageKind::custom;
    Where where = Where::coordinator;
    RoleMask roles = 0;
    bool async = false;
    bool hidden = false;
    bool no_session = false;
    bool pool_internal = false;
    bool secret = false;        ///< parameters must not be logged
    std::int16_t thunk = -1;    ///< index in the thunks of idl/apis.hpp; -1: table-driven only
    std::uint8_t required = 0;  ///< parameters without a default
    std::string_view forward;   ///< "host_extension:NAME", or empty
    std::span<const ParamInfo> params;  ///< without the session
    const TypeOps* result = nullptr;    ///< null: void, or get_all_records(_where)
    std::string_view result_text;       ///< "" for void
    const FieldInfo* field = nullptr;   ///< of get, set, add, remove
    std::span<const KeyRole> key_roles;
    std::span<const std::string_view> errors;  ///< declared
    Lifecycle life;

    [[nodiscard]] bool removed() const { return life.state == LifeState::removed; }
};

/// A record of unknown class on the heap.
struct RecordOps {
    std::size_t size = 0;
    void (*construct)(void* place) = nullptr;
    void (*copy_construct)(void* place, const void* record) = nullptr;
    void (*destroy)(void* record) = nullptr;
    bool (*equal)(const void* a, const void* b) = nullptr;

    [[nodiscard]] std::shared_ptr<void> create() const;
    [[nodiscard]] std::shared_ptr<void> copy(const void* record) const;
};

struct ClassInfo {
    std::string_view name;   ///< "VM"
    std::string_view lower;  ///< "vm": its name in events
    std::uint16_t index = no_class;
    bool persist = true;
    bool in_database = true;
    bool events = true;
    bool default_ctor_dtor = false;
    bool makes_tasks = true;  ///< its calls appear as tasks
    Durability durability = Durability::durable;
    RecordOps record;
    std::span<const FieldInfo> fields;      ///< wire order
    std::span<const MessageInfo> messages;  ///< custom ones first
    Lifecycle life;

    /// Null: no such field.
    [[nodiscard]] const FieldInfo* field(std::string_view field_name) const;
    [[nodiscard]] const FieldInfo* field_by_db_name(std::string_view db_name) const;
    [[nodiscard]] const MessageInfo* message(std::string_view message_name) const;
};

struct RoleInfo {
    std::string_view name;
    RoleMask mask = 0;  ///< its own bit
};

struct Permission {
    std::string_view name;
    RoleMask roles = 0;
};

/// All classes; a class's index is its place here.
[[nodiscard]] std::span<const ClassInfo> classes();
[[nodiscard]] std::span<const RelationInfo> relations();
/// From the highest role down.
[[nodiscard]] std::span<const std::string_view> role_names();
/// Permissions that are not names of messages.
[[nodiscard]] std::span<const Permission> extra_permissions();
inline constexpr std::size_t message_count_expected = 2258;

/// "VM.start" or "VM_start", exact case; without `Async.`. Null: unknown.
[[nodiscard]] const MessageInfo* find_message(std::string_view wire_name);
/// Exact wire name; null: unknown.
[[nodiscard]] const ClassInfo* find_class(std::string_view name);
/// Any case ("vm", "VM"), as event subscriptions are written; null: unknown.
[[nodiscard]] const ClassInfo* find_class_any_case(std::string_view name);

template <class C>
[[nodiscard]] const ClassInfo& class_of() {
    return classes()[ClassTraits<C>::index];
}

}  // namespace basalt::xenapi
