#include "xapi/cli/object_commands.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>

#include "base/error.hpp"
#include "xapi/cli/convert.hpp"

namespace basalt::cli {

namespace {

/// A parameter's name as a field of an object, perhaps with a key of its map.
struct FieldKey {
    const Field* field = nullptr;
    std::string key;
    bool contains = false;
};

bool is_collection(const Field& field) {
    return field.tag != Tag::ro && field.tag != Tag::rw;
}

/// `other-config:key`, the older `other-config-key`, `tags:contains`, or a field alone.
FieldKey find_field(const Object& object, const std::string& name) {
    if (const Field* field = object.field(name)) return {field, {}};
    if (const auto colon = name.find(':'); colon != std::string::npos) {
        const Field* field = object.field(std::string_view(name).substr(0, colon));
        if (field == nullptr) return {};
        const std::string key = name.substr(colon + 1);
        const bool set = field->tag == Tag::sro || field->tag == Tag::srw;
        return {field, key, set && key == "contains"};
    }
    FieldKey best;
    for (const Field& field : object.fields) {
        const std::string prefix = std::string(field.name) + "-";
        const bool longer = best.field == nullptr || field.name.size() > best.field->name.size();
        if (is_collection(field) && name.starts_with(prefix) && longer)
            best = {&field, name.substr(prefix.size())};
    }
    return best;
}

bool equal_any_case(std::string_view a, std::string_view b) {
    const auto low = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
    return std::ranges::equal(a, b, {}, low, low);
}

const Field& field_or_throw(const Object& object, std::string_view name) {
    const Field* field = object.field(name);
    if (field == nullptr) throw CommandError("Unknown field '" + std::string(name) + "'");
    return *field;
}

Task<std::string> object_of(Invocation& run, const Object& object) {
    std::string uuid = run.params.need("uuid");
    co_return co_await run.session.by_uuid(std::string(object.class_name), std::move(uuid));
}

/// The message of the object's class, as `set_` and the field's name; null: there is none.
const xenapi::MessageInfo* message_for(const Object& object, std::string_view verb,
                                       const Field& field) {
    const std::string name =
        std::string(object.class_name) + "." + std::string(verb) + field_name_of(field);
    return xenapi::find_message(name);
}

const xenapi::MessageInfo& setter_of(const Object& object, const Field& field) {
    const auto* message = message_for(object, "set_", field);
    if (message == nullptr || message->params.size() != 2)
        throw CommandError("Field '" + std::string(field.name) + "' cannot be changed");
    return *message;
}

// ---------------------------------------------------------------- reading

Task<void> list(Invocation& run, const Object& object) {
    const std::string class_name(object.class_name);
    std::vector<std::string> refs;
    for (std::string& ref : co_await run.facts.all(class_name)) {
        bool wanted = true;
        for (const std::string_view rule : object.filter) {
            const auto equals = rule.find('=');
            wanted = wanted &&
                     co_await has_value(run.facts, object, ref, std::string(rule.substr(0, equals)),
                                        std::string(rule.substr(equals + 1)));
        }
        for (const auto& [name, value] : run.params.all()) {
            if (!wanted) break;
            if (is_common_parameter(name) || name == "params") continue;
            wanted = co_await has_value(run.facts, object, ref, name, value);
        }
        if (wanted) refs.push_back(std::move(ref));
    }
    co_await print_objects(run, object, std::move(refs), run.params.get("params"));
}

Task<void> param_list(Invocation& run, const Object& object) {
    const std::string ref = co_await object_of(run, object);
    Lines lines;
    for (const Field& field : object.fields) {
        if (field.can(able::hidden)) continue;
        Shown value = co_await run.facts.show(object, field, ref);
        lines.emplace_back(label_of(field), std::move(value.text));
    }
    std::vector<Lines> all;
    all.push_back(std::move(lines));
    co_await run.printer.records(std::move(all));
}

Task<void> param_get(Invocation& run, const Object& object) {
    const std::string ref = co_await object_of(run, object);
    const std::string name = run.params.need("param-name");
    FieldKey wanted = find_field(object, name);
    if (wanted.field == nullptr) throw CommandError("Unknown field '" + name + "'");
    if (const std::string* key = run.params.find("param-key")) wanted.key = *key;
    Shown value = co_await run.facts.show(object, *wanted.field, ref);
    if (wanted.key.empty()) {
        co_await run.printer.item(std::move(value.text));
        co_return;
    }
    const auto entry =
        std::ranges::find(value.entries, wanted.key, [](const auto& e) { return e.first; });
    if (entry == value.entries.end()) throw CommandError("Key " + wanted.key + " not found in map");
    co_await run.printer.item(entry->second);
}

// ---------------------------------------------------------------- changing

struct Target {
    const Object& object;
    std::string ref;
    std::string class_name;
};

Task<void> set_key(Invocation& run, Target& target, FieldKey at, std::string value) {
    const std::string name = field_name_of(*at.field);
    if (at.field->can(able::set_in_map)) {
        co_await run.session.call(target.class_name + ".set_property",
                                  args(target.ref, at.key, std::move(value)));
        co_return;
    }
    if (!at.field->can(able::add))
        throw CommandError("Field '" + std::string(at.field->name) + "' cannot be changed");
    co_await run.session.call(target.class_name + ".remove_from_" + name, args(target.ref, at.key));
    co_await run.session.call(target.class_name + ".add_to_" + name,
                              args(target.ref, at.key, std::move(value)));
}

/// "Soft reboot" -> "soft_reboot".
std::string as_enumerator(std::string text) {
    for (char& c : text)
        c = c == ' ' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
}

Task<void> set_whole(Invocation& run, Target& target, const Field& field, std::string value) {
    if (!field.can(able::set))
        throw CommandError("Field '" + std::string(field.name) + "' cannot be changed");
    const xenapi::MessageInfo& setter = setter_of(target.object, field);
    if (field.source.ends_with("|capital")) value = as_enumerator(std::move(value));
    wire::Value typed = co_await typed_value(run.facts, setter.params.back().type,
                                             std::string(field.name), std::move(value));
    co_await run.session.call(std::string(setter.wire_name), args(target.ref, std::move(typed)));
}

Task<void> param_set(Invocation& run, const Object& object) {
    Target target{object, co_await object_of(run, object), std::string(object.class_name)};
    std::map<const Field*, wire::Object> whole_maps;
    for (const auto& [name, value] : run.params.all()) {
        if (is_common_parameter(name) || name == "uuid") continue;
        const FieldKey at = find_field(object, name);
        if (at.field == nullptr) throw CommandError("Unknown field '" + name + "'");
        if (at.key.empty()) {
            co_await set_whole(run, target, *at.field, value);
        } else if (at.field->can(able::set_map)) {
            whole_maps[at.field].push_back({at.key, value});
        } else {
            co_await set_key(run, target, at, value);
        }
    }
    for (auto& [field, entries] : whole_maps) {
        const xenapi::MessageInfo& setter = setter_of(object, *field);
        co_await run.session.call(std::string(setter.wire_name),
                                  args(target.ref, std::move(entries)));
    }
}

/// Changes a set that has no message for one item: reads, changes, writes.
Task<void> rewrite_set(Invocation& run, Target& target, const Field& field, wire::Value item,
                       bool present) {
    const xenapi::MessageInfo& setter = setter_of(target.object, field);
    const wire::Value now = co_await run.session.call(
        target.class_name + ".get_" + field_name_of(field), args(target.ref));
    wire::Array items = now.get<wire::Array>() == nullptr ? wire::Array{} : *now.get<wire::Array>();
    std::erase(items, item);
    if (present) items.push_back(std::move(item));
    co_await run.session.call(std::string(setter.wire_name), args(target.ref, std::move(items)));
}

Task<void> change_set(Invocation& run, Target& target, const Field& field, bool present) {
    const std::string text = run.params.need("param-key");
    const auto* message = message_for(target.object, present ? "add_" : "remove_", field);
    const auto& setter = message != nullptr ? *message : setter_of(target.object, field);
    const xenapi::TypeOps* type = setter.params.back().type;
    const xenapi::TypeOps* item_type = message != nullptr ? type : type->item;
    wire::Value item = co_await typed_value(run.facts, item_type, std::string(field.name), text);
    if (message == nullptr) {
        co_await rewrite_set(run, target, field, std::move(item), present);
    } else {
        co_await run.session.call(std::string(message->wire_name),
                                  args(target.ref, std::move(item)));
    }
}

bool is_map_tag(Tag tag) {
    return tag == Tag::mro || tag == Tag::mrw;
}

/// Adds a key, or takes it away when there is no value. A map without messages for one key is
/// read, changed and written.
Task<void> change_map(Invocation& run, Target& target, const Field& field, std::string key,
                      std::optional<std::string> value) {
    const std::string_view verb = value ? "add_to_" : "remove_from_";
    if (const auto* message = message_for(target.object, verb, field)) {
        wire::Array params = args(target.ref, std::move(key));
        if (value) params.emplace_back(std::move(*value));
        co_await run.session.call(std::string(message->wire_name), std::move(params));
        co_return;
    }
    const xenapi::MessageInfo& setter = setter_of(target.object, field);
    const wire::Value now = co_await run.session.call(
        target.class_name + ".get_" + field_name_of(field), args(target.ref));
    wire::Object map =
        now.get<wire::Object>() == nullptr ? wire::Object{} : *now.get<wire::Object>();
    std::erase_if(map, [&key](const wire::Member& member) { return member.name == key; });
    if (value) map.push_back({std::move(key), std::move(*value)});
    co_await run.session.call(std::string(setter.wire_name), args(target.ref, std::move(map)));
}

Task<void> param_add(Invocation& run, const Object& object) {
    Target target{object, co_await object_of(run, object), std::string(object.class_name)};
    const Field& field = field_or_throw(object, run.params.need("param-name"));
    if (!field.can(able::add))
        throw CommandError("Cannot add to field '" + std::string(field.name) + "'");
    if (!is_map_tag(field.tag)) {
        co_await change_set(run, target, field, true);
        co_return;
    }
    for (const auto& [name, value] : run.params.all()) {
        if (is_common_parameter(name) || name == "uuid" || name == "param-name" ||
            name == "param-key") {
            continue;
        }
        co_await change_map(run, target, field, name, value);
    }
    // A key alone maps to nothing.
    if (const std::string* key = run.params.find("param-key"))
        co_await change_map(run, target, field, *key, std::string{});
}

Task<void> param_remove(Invocation& run, const Object& object) {
    Target target{object, co_await object_of(run, object), std::string(object.class_name)};
    const Field& field = field_or_throw(object, run.params.need("param-name"));
    if (!field.can(able::remove))
        throw CommandError("Cannot remove from field '" + std::string(field.name) + "'");
    if (!is_map_tag(field.tag)) {
        co_await change_set(run, target, field, false);
        co_return;
    }
    const std::string key = run.params.need("param-key");
    const Shown now = co_await run.facts.show(object, field, target.ref);
    const bool present =
        std::ranges::any_of(now.entries, [&key](const auto& e) { return e.first == key; });
    if (!present) throw CommandError("Key " + key + " not found in map");
    co_await change_map(run, target, field, key, std::nullopt);
}

Task<void> param_clear(Invocation& run, const Object& object) {
    using xenapi::TypeKind;
    Target target{object, co_await object_of(run, object), std::string(object.class_name)};
    const Field& field = field_or_throw(object, run.params.need("param-name"));
    const xenapi::MessageInfo& setter = setter_of(object, field);
    const TypeKind kind = setter.params.back().type->kind;
    wire::Value empty = std::string{};
    if (kind == TypeKind::set) empty = wire::Array{};
    if (kind == TypeKind::map) empty = wire::Object{};
    if (kind == TypeKind::ref) empty = std::string(null_ref);
    co_await run.session.call(std::string(setter.wire_name), args(target.ref, std::move(empty)));
}

}  // namespace

Task<void> run_object_command(Invocation& run, ObjectCommand command) {
    const Object& object = *command.object;
    switch (command.verb) {
        case Verb::list:
            return list(run, object);
        case Verb::param_list:
            return param_list(run, object);
        case Verb::param_get:
            return param_get(run, object);
        case Verb::param_set:
            return param_set(run, object);
        case Verb::param_add:
            return param_add(run, object);
        case Verb::param_remove:
            return param_remove(run, object);
        case Verb::param_clear:
            return param_clear(run, object);
    }
    throw CommandError("no such command");
}

Task<void> print_objects(Invocation& run, const Object& object, std::vector<std::string> refs,
                         std::string wanted) {
    std::vector<const Field*> fields;
    std::vector<std::string> names = split_items(wanted);
    const bool everything = wanted == "all" || (names.empty() && object.defaults.empty());
    if (names.empty()) names.assign(object.defaults.begin(), object.defaults.end());
    for (const Field& field : object.fields) {
        const bool named = std::ranges::any_of(
            names, [&](const std::string& name) { return object.field(name) == &field; });
        if (everything ? !field.can(able::hidden) : named) fields.push_back(&field);
    }
    if (!everything)
        for (const std::string& name : names)
            field_or_throw(object, name);
    std::vector<Lines> all;
    for (const std::string& ref : refs) {
        Lines lines;
        for (const Field* field : fields) {
            Shown value = Shown::of(std::string(expensive_field));
            if (!field->can(able::expensive)) value = co_await run.facts.show(object, *field, ref);
            lines.emplace_back(label_of(*field), std::move(value.text));
        }
        all.push_back(std::move(lines));
    }
    co_await run.printer.records(std::move(all));
}

const Object& object_named(std::string_view name) {
    const auto place = std::ranges::find(objects(), name, &Object::name);
    if (place == objects().end()) throw CommandError("no object " + std::string(name));
    return *place;
}

Task<bool> has_value(Facts& facts, const Object& object, std::string ref, std::string name,
                     std::string value) {
    const FieldKey at = find_field(object, name);
    if (at.field == nullptr) throw CommandError("Unknown field '" + name + "'");
    const Shown now = co_await facts.show(object, *at.field, std::move(ref));
    if (at.contains) co_return std::ranges::contains(now.items, value);
    if (!at.key.empty()) {
        co_return std::ranges::any_of(now.entries, [&](const auto& entry) {
            return entry.first == at.key && entry.second == value;
        });
    }
    if (at.field->can(able::case_insensitive)) co_return equal_any_case(now.text, value);
    co_return now.text == value;
}

bool is_common_parameter(std::string_view name) {
    constexpr std::array<std::string_view, 12> names = {
        "minimal", "multiple", "trace", "debug",    "debug-on-fail",    "server",
        "port",    "username", "all",   "password", "message-priority", "nossl"};
    return std::ranges::contains(names, name) || name.starts_with("database:");
}

}  // namespace basalt::cli
