#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "idl/runtime/value.hpp"
#include "idl/runtime/writers.hpp"

namespace basalt::xenapi {

enum class TypeKind : std::uint8_t {
    string,
    secret,
    integer,
    real,
    boolean,
    datetime,
    enumeration,
    ref,
    record,
    any_record,
    set,
    option,
    map,
    other,
};

inline constexpr std::uint16_t no_class = 0xffff;

/// What can be done with a value of which only the type table is known: the generic codec and the
/// interpreter of implicit messages are written against it. One object a type.
struct TypeOps {
    TypeKind kind;
    std::size_t size;
    std::uint16_t class_index;  ///< of a ref or a record, otherwise no_class
    const TypeOps* key;         ///< of a map
    const TypeOps* item;        ///< of a set, an option or a map's values

    void (*write_json)(const void* value, wire::JsonWriter& writer);
    void (*write_xml)(const void* value, wire::XmlWriter& writer);
    /// Replaces *value. Throws INTERNAL_ERROR, or HANDLE_INVALID for what is no reference.
    void (*read)(const wire::Value& from, void* value);
    bool (*equal)(const void* a, const void* b);
    void (*assign)(void* to, const void* from);
    void (*construct)(void* place);  ///< a default value in `size` bytes of maximal alignment
    void (*destroy)(void* value);
    /// The text that expressions of get_all_records_where compare.
    std::string (*db_text)(const void* value);

    // Sets and maps only; null for the others.
    void (*set_add)(void* set, const wire::Value& item);  ///< a member already there stays once
    void (*set_remove)(void* set, const wire::Value& item);
    bool (*map_add)(void* map, const wire::Value& key,
                    const wire::Value& value);  ///< false: key is there
    void (*map_remove)(void* map, const wire::Value& key);

    /// A default value on the heap.
    [[nodiscard]] std::shared_ptr<void> make() const;
};

/// Where the table of T is; defined in idl/runtime/codec.hpp, instantiated by the generator for
/// every type of the data model.
template <class T>
struct TypeOpsOf {
    static const TypeOps value;
};

template <class T>
[[nodiscard]] const TypeOps& type_ops() {
    return TypeOpsOf<T>::value;
}

}  // namespace basalt::xenapi
