#include "xapi/cli/facts.hpp"

#include <algorithm>
#include <cctype>

#include "base/error.hpp"

namespace basalt::cli {

namespace {

std::string joined(const std::vector<std::string>& items) {
    std::string out;
    for (const std::string& item : items)
        out += (out.empty() ? "" : "; ") + item;
    return out;
}

/// `a.b.c` -> `a` and `b.c`.
std::pair<std::string, std::string> split_path(const std::string& path) {
    const auto dot = path.find('.');
    if (dot == std::string::npos) return {path, {}};
    return {path.substr(0, dot), path.substr(dot + 1)};
}

Shown shown_value(const wire::Value& value) {
    if (const auto* list = value.get<wire::Array>()) {
        std::vector<std::string> items;
        for (const wire::Value& item : *list)
            items.push_back(shown(item));
        return Shown::of_set(std::move(items));
    }
    if (const auto* object = value.get<wire::Object>()) {
        std::vector<std::pair<std::string, std::string>> entries;
        for (const auto& [name, item] : *object)
            entries.emplace_back(name, shown(item));
        return Shown::of_map(std::move(entries));
    }
    return Shown::of(shown(value));
}

/// An enumeration's word as users know it.
std::string in_form(std::string text, std::string_view form) {
    for (char& c : text) {
        if (form == "capital" && c == '_') c = ' ';
        const bool first = &c == text.data();
        if (form == "lower") c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        if (form == "upper" || (form == "capital" && first))
            c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    return text;
}

bool is_set_tag(Tag tag) {
    return tag == Tag::sro || tag == Tag::srw;
}

}  // namespace

Shown Shown::of_set(std::vector<std::string> items) {
    Shown out{.text = joined(items), .is_set = true};
    out.items = std::move(items);
    return out;
}

Shown Shown::of_map(std::vector<std::pair<std::string, std::string>> entries) {
    Shown out{.is_map = true};
    for (const auto& [key, value] : entries)
        out.text += (out.text.empty() ? "" : "; ") + key + ": " + value;
    out.entries = std::move(entries);
    return out;
}

Task<std::vector<std::string>> Facts::all(std::string class_name) {
    if (const auto& all = classes_[class_name].all) co_return all->refs();
    std::unique_ptr<Records> all = co_await session_.all_records(class_name);
    Class& known = classes_[class_name];
    known.all = std::move(all);
    const std::vector<std::string>& refs = known.all->refs();
    for (std::size_t place = 0; place < refs.size(); ++place)
        known.places.emplace(refs[place], place);
    co_return refs;
}

Task<std::optional<wire::Value>> Facts::member(std::string class_name, std::string ref,
                                               std::string name) {
    const Class& known = classes_[class_name];
    if (const auto place = known.places.find(ref); place != known.places.end())
        co_return known.all->member(place->second, name);
    const wire::Value* found = co_await record(std::move(class_name), std::move(ref));
    const wire::Value* value = found == nullptr ? nullptr : found->find(name);
    co_return value == nullptr ? std::nullopt : std::optional(*value);
}

Task<const wire::Value*> Facts::record(std::string class_name, std::string ref) {
    if (is_null_ref(ref)) co_return nullptr;
    Class& known = classes_[class_name];
    if (const auto read = known.records.find(ref); read != known.records.end())
        co_return &read->second;
    if (const auto place = known.places.find(ref); place != known.places.end())
        co_return &known.records.emplace(ref, known.all->record(place->second)).first->second;
    if (known.all) co_return nullptr;
    wire::Value answer;
    try {
        answer = co_await session_.call(class_name + ".get_record", args(ref));
    } catch (const ApiError& error) {
        if (error.code() != "HANDLE_INVALID") throw;
        co_return nullptr;
    }
    co_return &classes_[class_name].records.insert_or_assign(ref, std::move(answer)).first->second;
}

Task<Shown> Facts::show(const Object& object, const Field& field, std::string ref) {
    std::string source(field.source);
    std::string form;
    if (const auto bar = source.find('|'); bar != std::string::npos) {
        form = source.substr(bar + 1);
        source.resize(bar);
    }
    Shown out;
    if (source.starts_with('@')) {
        out = co_await computed(*this, object, source.substr(1), std::move(ref));
    } else if (source.find("()") != std::string::npos) {
        out = co_await call_source(std::move(ref), std::move(source));
    } else {
        out = co_await follow(std::string(object.class_name), std::move(ref), std::move(source));
    }
    // A map under a set's tag is one of operations under way: their names are what matters.
    if (out.is_map && is_set_tag(field.tag)) {
        std::vector<std::string> values;
        for (auto& [key, value] : out.entries)
            values.push_back(std::move(value));
        out = Shown::of_set(std::move(values));
    }
    if (!form.empty()) out.text = in_form(std::move(out.text), form);
    co_return out;
}

Task<Shown> Facts::call_source(std::string ref, std::string source) {
    const auto parens = source.find("()");
    const std::string method = source.substr(0, parens);
    wire::Value answer;
    try {
        answer = co_await session_.call(method, args(ref));
    } catch (const ApiError& error) {
        if (error.code() == "SESSION_INVALID") throw;
        co_return Shown::of("<" + error.code() + ">");
    }
    if (source.size() == parens + 2) co_return shown_value(answer);
    const xenapi::MessageInfo* message = xenapi::find_message(method);
    const xenapi::ClassInfo* cls = message == nullptr ? nullptr : class_behind(message->result);
    if (cls == nullptr) co_return shown_value(answer);
    co_return co_await descend(std::move(answer), std::string(cls->name),
                               source.substr(parens + 3));
}

Task<Shown> Facts::follow(std::string class_name, std::string ref, std::string path) {
    const auto [first, rest] = split_path(path);
    std::optional<wire::Value> value = co_await member(class_name, std::move(ref), first);
    if (!value) co_return Shown::of(std::string(not_in_database));
    const xenapi::ClassInfo* cls = xenapi::find_class(class_name);
    const xenapi::FieldInfo* field = cls == nullptr ? nullptr : cls->field(first);
    const xenapi::ClassInfo* next = field == nullptr ? nullptr : class_behind(field->type);
    if (rest.empty() || next == nullptr) co_return shown_value(*value);
    co_return co_await descend(*std::move(value), std::string(next->name), rest);
}

Task<Shown> Facts::descend(wire::Value value, std::string class_name, std::string path) {
    if (const auto* list = value.get<wire::Array>()) {
        std::vector<std::string> items;
        for (const wire::Value& item : *list) {
            Shown one = co_await follow(class_name, shown(item), path);
            items.push_back(std::move(one.text));
        }
        co_return Shown::of_set(std::move(items));
    }
    if (const auto* object = value.get<wire::Object>()) {
        std::vector<std::pair<std::string, std::string>> entries;
        for (const auto& [name, item] : *object) {
            Shown one = co_await follow(class_name, shown(item), path);
            entries.emplace_back(name, std::move(one.text));
        }
        co_return Shown::of_map(std::move(entries));
    }
    co_return co_await follow(std::move(class_name), shown(value), std::move(path));
}

Task<std::string> Facts::uuid_and_name(std::string class_name, std::string ref) {
    const wire::Value* found = co_await record(std::move(class_name), ref);
    if (found == nullptr) co_return ref;
    std::string out = text_member(*found, "uuid");
    if (const wire::Value* name = found->find("name_label")) out += " (" + shown(*name) + ")";
    co_return out;
}

std::string label_of(const Field& field) {
    constexpr std::string_view tags[] = {" RO", " RW", "SRO", "SRW", "MRO", "MRW"};
    std::string out(field.name);
    out += " (" + std::string(tags[static_cast<std::size_t>(field.tag)]) + ")";
    if (field.can(able::deprecated)) out += " [DEPRECATED]";
    return out;
}

std::string field_name_of(const Field& field) {
    std::string_view source = field.source;
    if (source.starts_with("@hosts.")) source.remove_prefix(7);
    return std::string(source.substr(0, source.find_first_of(".|")));
}

const xenapi::ClassInfo* class_behind(const xenapi::TypeOps* type) {
    for (; type != nullptr; type = type->item) {
        if (type->kind == xenapi::TypeKind::ref) return &xenapi::classes()[type->class_index];
    }
    return nullptr;
}

}  // namespace basalt::cli
