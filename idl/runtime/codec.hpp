#pragma once
// How each type of the data model is read and written. Heavy: included by the generated units that
// make the type tables, and by nothing else.
#include <concepts>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "idl/classes.hpp"
#include "idl/errors.hpp"
#include "idl/runtime/datetime.hpp"
#include "idl/runtime/enum_text.hpp"
#include "idl/runtime/event_batch.hpp"
#include "idl/runtime/map.hpp"
#include "idl/runtime/record_codec.hpp"
#include "idl/runtime/ref.hpp"
#include "idl/runtime/secret_string.hpp"
#include "idl/runtime/type_ops.hpp"
#include "idl/runtime/writers.hpp"

namespace basalt::xenapi {

/// read, write, db_text; types that may be map keys also key_text and read_key.
template <class T>
struct Codec;

// The parts that need no template; codec.cpp.
namespace detail {

[[nodiscard]] const std::string& read_text(const wire::Value& from);
[[nodiscard]] std::int64_t read_integer(const wire::Value& from);
[[nodiscard]] std::int64_t parse_integer(std::string_view text);
[[nodiscard]] double read_real(const wire::Value& from);
[[nodiscard]] bool read_boolean(const wire::Value& from);
[[nodiscard]] DateTime read_datetime(const wire::Value& from);
[[nodiscard]] const wire::Array& read_array(const wire::Value& from);
[[nodiscard]] const wire::Object& read_object(const wire::Value& from);
[[noreturn]] void fail_enum();
/// `'text'` with quotes and backslashes escaped: an atom of a set's database text.
[[nodiscard]] std::string db_atom(std::string_view text);

template <class W>
void write_event(const WireEvent& event, W& writer);
template <class W>
void write_batch(const EventBatch& batch, W& writer);

}  // namespace detail

template <>
struct Codec<std::string> {
    static constexpr auto kind = TypeKind::string;

    static void write(const std::string& value, auto& w) { w.text(value); }

    static void read(const wire::Value& from, std::string& to) { to = detail::read_text(from); }

    static std::string db_text(const std::string& value) { return value; }

    static std::string key_text(const std::string& value) { return value; }

    static void read_key(const std::string& text, std::string& to) { to = text; }
};

template <>
struct Codec<SecretString> {
    static constexpr auto kind = TypeKind::secret;

    static void write(const SecretString& value, auto& w) { w.text(value.reveal()); }

    static void read(const wire::Value& from, SecretString& to) {
        to = SecretString{detail::read_text(from)};
    }

    static std::string db_text(const SecretString& value) { return value.reveal(); }
};

template <>
struct Codec<std::int64_t> {
    static constexpr auto kind = TypeKind::integer;

    static void write(std::int64_t value, auto& w) { w.integer(value); }

    static void read(const wire::Value& from, std::int64_t& to) { to = detail::read_integer(from); }

    static std::string db_text(std::int64_t value) { return std::to_string(value); }

    static std::string key_text(std::int64_t value) { return std::to_string(value); }

    static void read_key(const std::string& text, std::int64_t& to) {
        to = detail::parse_integer(text);
    }
};

template <>
struct Codec<double> {
    static constexpr auto kind = TypeKind::real;

    static void write(double value, auto& w) { w.real(value); }

    static void read(const wire::Value& from, double& to) { to = detail::read_real(from); }

    static std::string db_text(double value) { return wire::real_text(value); }
};

template <>
struct Codec<bool> {
    static constexpr auto kind = TypeKind::boolean;

    static void write(bool value, auto& w) { w.boolean(value); }

    static void read(const wire::Value& from, bool& to) { to = detail::read_boolean(from); }

    static std::string db_text(bool value) { return value ? "true" : "false"; }
};

template <>
struct Codec<DateTime> {
    static constexpr auto kind = TypeKind::datetime;

    static void write(const DateTime& value, auto& w) { w.datetime(value.text()); }

    static void read(const wire::Value& from, DateTime& to) { to = detail::read_datetime(from); }

    static std::string db_text(const DateTime& value) { return value.text(); }
};

template <WireEnum E>
struct Codec<E> {
    static constexpr auto kind = TypeKind::enumeration;

    static void write(E value, auto& w) { w.plain_text(wire_text(value)); }

    static void read(const wire::Value& from, E& to) { read_key(detail::read_text(from), to); }

    static std::string db_text(E value) { return std::string(wire_text(value)); }

    static std::string key_text(E value) { return std::string(wire_text(value)); }

    static void read_key(const std::string& text, E& to) {
        const auto value = parse_enum<E>(text);
        if (!value) detail::fail_enum();
        to = *value;
    }
};

template <class C>
struct Codec<Ref<C>> {
    static constexpr auto kind = TypeKind::ref;

    static void write(const Ref<C>& value, auto& w) {
        RefBuffer buffer;
        w.plain_text(write_ref(value.uuid(), buffer));
    }

    static void read(const wire::Value& from, Ref<C>& to) {
        to = Ref<C>::parse(detail::read_text(from));
    }

    static std::string db_text(const Ref<C>& value) { return value.text(); }

    static std::string key_text(const Ref<C>& value) { return value.text(); }

    static void read_key(const std::string& text, Ref<C>& to) { to = Ref<C>::parse(text); }
};

template <class T>
struct Codec<std::vector<T>> {
    static constexpr auto kind = TypeKind::set;

    static void write(const std::vector<T>& value, auto& w) {
        w.begin_array();
        for (const T& item : value) {
            w.element();
            Codec<T>::write(item, w);
        }
        w.end_array();
    }

    static void read(const wire::Value& from, std::vector<T>& to) {
        const wire::Array& items = detail::read_array(from);
        std::vector<T> fresh;
        fresh.reserve(items.size());
        for (const wire::Value& item : items) {
            T value{};
            Codec<T>::read(item, value);
            fresh.push_back(std::move(value));
        }
        to = std::move(fresh);
    }

    static std::string db_text(const std::vector<T>& value) {
        std::string out = "(";
        for (const T& item : value) {
            if (out.size() > 1) out += ' ';
            out += detail::db_atom(Codec<T>::db_text(item));
        }
        return out + ")";
    }

    static void add(std::vector<T>& to, const wire::Value& from) {
        T item{};
        Codec<T>::read(from, item);
        // Plain loops: this is compiled for some ninety types.
        for (const T& present : to) {
            if (present == item) return;
        }
        to.push_back(std::move(item));
    }

    static void remove(std::vector<T>& to, const wire::Value& from) {
        T item{};
        Codec<T>::read(from, item);
        for (auto place = to.begin(); place != to.end(); ++place) {
            if (!(*place == item)) continue;
            to.erase(place);
            return;
        }
    }
};

template <class T>
struct Codec<std::optional<T>> {
    static constexpr auto kind = TypeKind::option;

    static void write(const std::optional<T>& value, auto& w) {
        if (value) {
            Codec<T>::write(*value, w);
        } else {
            w.null();
        }
    }

    static void read(const wire::Value& from, std::optional<T>& to) {
        to.reset();
        if (!from.is_null()) Codec<T>::read(from, to.emplace());
    }

    static std::string db_text(const std::optional<T>& value) {
        return value ? Codec<T>::db_text(*value) : "";
    }
};

template <class K, class V>
struct Codec<Map<K, V>> {
    static constexpr auto kind = TypeKind::map;

    static void write(const Map<K, V>& value, auto& w) {
        w.begin_object();
        for (const auto& [key, item] : value) {
            if constexpr (std::same_as<K, std::string>) {
                w.key(key);
            } else {
                w.key(Codec<K>::key_text(key));
            }
            Codec<V>::write(item, w);
            w.end_member();
        }
        w.end_object();
    }

    static void read(const wire::Value& from, Map<K, V>& to) {
        const wire::Object& members = detail::read_object(from);
        Map<K, V> fresh;
        fresh.reserve(members.size());
        for (const wire::Member& member : members) {
            K key{};
            Codec<K>::read_key(member.name, key);
            V item{};
            Codec<V>::read(member.value, item);
            fresh.insert_or_assign(std::move(key), std::move(item));
        }
        to = std::move(fresh);
    }

    static std::string db_text(const Map<K, V>& value) {
        std::string out = "(";
        for (const auto& [key, item] : value) {
            if (out.size() > 1) out += ' ';
            out += '(' + detail::db_atom(Codec<K>::key_text(key)) + ' ' +
                   detail::db_atom(Codec<V>::db_text(item)) + ')';
        }
        return out + ")";
    }

    static bool add(Map<K, V>& to, const wire::Value& key, const wire::Value& value) {
        K k{};
        Codec<K>::read(key, k);
        V v{};
        Codec<V>::read(value, v);
        return to.emplace(std::move(k), std::move(v)).second;
    }

    static void remove(Map<K, V>& from, const wire::Value& key) {
        K k{};
        Codec<K>::read(key, k);
        from.erase(k);
    }
};

/// A record struct of the data model.
template <class C>
    requires requires { ClassTraits<C>::index; }
struct Codec<C> {
    static constexpr auto kind = TypeKind::record;

    static void write(const C& value, auto& w) { write_record(class_of<C>(), &value, w); }

    static void read(const wire::Value& from, C& to) {
        read_record(class_of<C>(), from, &to, RecordMode::full);
    }

    static std::string db_text(const C& /*value*/) { return ""; }
};

template <>
struct Codec<AnyRecord> {
    static constexpr auto kind = TypeKind::any_record;

    static void write(const AnyRecord& value, auto& w) {
        if (value.has_value()) {
            write_record(*value.cls, value.record.get(), w);
        } else {
            w.null();
        }
    }

    static void read(const wire::Value& from, AnyRecord& /*to*/) {
        wire::fail_expected("no snapshot in a request", from);
    }

    static std::string db_text(const AnyRecord& /*value*/) { return ""; }
};

template <>
struct Codec<WireEvent> {
    static constexpr auto kind = TypeKind::other;

    static void write(const WireEvent& value, auto& w) { detail::write_event(value, w); }

    static void read(const wire::Value& from, WireEvent& /*to*/) {
        wire::fail_expected("no event in a request", from);
    }

    static std::string db_text(const WireEvent& /*value*/) { return ""; }
};

template <>
struct Codec<EventBatch> {
    static constexpr auto kind = TypeKind::other;

    static void write(const EventBatch& value, auto& w) { detail::write_batch(value, w); }

    static void read(const wire::Value& from, EventBatch& /*to*/) {
        wire::fail_expected("no events in a request", from);
    }

    static std::string db_text(const EventBatch& /*value*/) { return ""; }
};

namespace detail {

/// The parts of a type: what TypeOps points to.
template <class T>
struct Parts {
    static constexpr std::uint16_t class_index = no_class;
    static constexpr const TypeOps* key = nullptr;
    static constexpr const TypeOps* item = nullptr;
};

template <class C>
struct Parts<Ref<C>> : Parts<void> {
    static constexpr std::uint16_t class_index = ClassTraits<C>::index;
};

template <class C>
    requires requires { ClassTraits<C>::index; }
struct Parts<C> : Parts<void> {
    static constexpr std::uint16_t class_index = ClassTraits<C>::index;
};

template <class T>
struct Parts<std::vector<T>> : Parts<void> {
    static constexpr const TypeOps* item = &TypeOpsOf<T>::value;
};

template <class T>
struct Parts<std::optional<T>> : Parts<void> {
    static constexpr const TypeOps* item = &TypeOpsOf<T>::value;
};

template <class K, class V>
struct Parts<Map<K, V>> : Parts<void> {
    static constexpr const TypeOps* key = &TypeOpsOf<K>::value;
    static constexpr const TypeOps* item = &TypeOpsOf<V>::value;
};

template <class T>
struct Erased {
    static const T& as(const void* value) { return *static_cast<const T*>(value); }

    static T& as(void* value) { return *static_cast<T*>(value); }

    static void write_json(const void* value, wire::JsonWriter& w) {
        Codec<T>::write(as(value), w);
    }

    static void write_xml(const void* value, wire::XmlWriter& w) { Codec<T>::write(as(value), w); }

    static void read(const wire::Value& from, void* value) { Codec<T>::read(from, as(value)); }

    static bool equal(const void* a, const void* b) { return as(a) == as(b); }

    static void assign(void* to, const void* from) { as(to) = as(from); }

    static void construct(void* place) { ::new (place) T(); }

    static void destroy(void* value) { as(value).~T(); }

    static std::string db_text(const void* value) { return Codec<T>::db_text(as(value)); }

    static void set_add(void* set, const wire::Value& item) { Codec<T>::add(as(set), item); }

    static void set_remove(void* set, const wire::Value& item) { Codec<T>::remove(as(set), item); }

    static bool map_add(void* map, const wire::Value& key, const wire::Value& value) {
        return Codec<T>::add(as(map), key, value);
    }

    static void map_remove(void* map, const wire::Value& key) { Codec<T>::remove(as(map), key); }
};

template <class T>
constexpr TypeOps make_type_ops() {
    using E = Erased<T>;
    TypeOps ops{
        .kind = Codec<T>::kind,
        .size = sizeof(T),
        .class_index = Parts<T>::class_index,
        .key = Parts<T>::key,
        .item = Parts<T>::item,
        .write_json = &E::write_json,
        .write_xml = &E::write_xml,
        .read = &E::read,
        .equal = &E::equal,
        .assign = &E::assign,
        .construct = &E::construct,
        .destroy = &E::destroy,
        .db_text = &E::db_text,
        .set_add = nullptr,
        .set_remove = nullptr,
        .map_add = nullptr,
        .map_remove = nullptr,
    };
    if constexpr (Codec<T>::kind == TypeKind::set) {
        ops.set_add = &E::set_add;
        ops.set_remove = &E::set_remove;
    } else if constexpr (Codec<T>::kind == TypeKind::map) {
        ops.map_add = &E::map_add;
        ops.map_remove = &E::map_remove;
    }
    return ops;
}

}  // namespace detail

template <class T>
constinit const TypeOps TypeOpsOf<T>::value = detail::make_type_ops<T>();

}  // namespace basalt::xenapi
