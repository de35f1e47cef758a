#include "idl/runtime/model.hpp"

#include <new>
#include <string>
#include <unordered_map>

#include "idl/runtime/enum_text.hpp"

namespace basalt::xenapi {

namespace {

/// Memory of `size` bytes in which `construct` made something that `destroy` ends.
template <class Construct>
std::shared_ptr<void> make_erased(std::size_t size, Construct construct, void (*destroy)(void*)) {
    struct Free {
        void operator()(void* place) const { ::operator delete(place); }
    };

    std::unique_ptr<void, Free> memory{::operator new(size)};
    construct(memory.get());
    return {memory.release(), [destroy](void* value) {
                destroy(value);
                ::operator delete(value);
            }};
}

}  // namespace

std::shared_ptr<void> TypeOps::make() const {
    return make_erased(size, construct, destroy);
}

std::shared_ptr<void> RecordOps::create() const {
    return make_erased(size, construct, destroy);
}

std::shared_ptr<void> RecordOps::copy(const void* record) const {
    return make_erased(
        size, [this, record](void* place) { copy_construct(place, record); }, destroy);
}

namespace {

/// Lookups only: nobody iterates it.
template <class Info>
using Index = std::unordered_map<std::string_view, const Info*>;

struct TextHash {
    using is_transparent = void;

    std::size_t operator()(std::string_view text) const {
        return std::hash<std::string_view>{}(text);
    }
};

using MessageIndex = std::unordered_map<std::string, const MessageInfo*, TextHash, std::equal_to<>>;

MessageIndex make_message_index() {
    MessageIndex index;
    for (const ClassInfo& cls : classes()) {
        for (const MessageInfo& message : cls.messages) {
            index.emplace(message.wire_name, &message);
            index.emplace(std::string(cls.name) + "_" + std::string(message.name), &message);
        }
    }
    return index;
}

Index<ClassInfo> make_class_index(std::string_view ClassInfo::* name) {
    Index<ClassInfo> index;
    for (const ClassInfo& cls : classes())
        index.emplace(cls.*name, &cls);
    return index;
}

const ClassInfo* lookup(const Index<ClassInfo>& index, std::string_view name) {
    const auto place = index.find(name);
    return place == index.end() ? nullptr : place->second;
}

template <class Info>
const Info* search(std::span<const Info> infos, std::string_view Info::* name,
                   std::string_view wanted) {
    for (const Info& info : infos) {
        if (info.*name == wanted) return &info;
    }
    return nullptr;
}

}  // namespace

std::string_view Lifecycle::since() const {
    const std::string_view first = history.substr(0, history.find(' '));
    const auto colon = first.find(':');
    return colon == std::string_view::npos ? first : first.substr(colon + 1);
}

bool KeyRole::matches(std::string_view candidate) const {
    if (key.ends_with('*')) return candidate.starts_with(key.substr(0, key.size() - 1));
    return candidate == key;
}

const FieldInfo* FieldInfo::opposite() const {
    if (relation == nullptr) return nullptr;
    return relation->stored == this ? relation->mirror : relation->stored;
}

const FieldInfo* ClassInfo::field(std::string_view field_name) const {
    return search(fields, &FieldInfo::name, field_name);
}

const FieldInfo* ClassInfo::field_by_db_name(std::string_view db_name) const {
    return search(fields, &FieldInfo::db_name, db_name);
}

const MessageInfo* ClassInfo::message(std::string_view message_name) const {
    return search(messages, &MessageInfo::name, message_name);
}

const MessageInfo* find_message(std::string_view wire_name) {
    static const MessageIndex index = make_message_index();
    const auto place = index.find(wire_name);
    return place == index.end() ? nullptr : place->second;
}

const ClassInfo* find_class(std::string_view name) {
    static const auto index = make_class_index(&ClassInfo::name);
    return lookup(index, name);
}

const ClassInfo* find_class_any_case(std::string_view name) {
    static const auto index = make_class_index(&ClassInfo::lower);
    std::string lower(name);
    for (char& c : lower)
        c = ascii_lower(c);
    return lookup(index, lower);
}

}  // namespace basalt::xenapi
