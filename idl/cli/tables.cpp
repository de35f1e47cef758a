#include "idl/cli/tables.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace basalt::cli {

namespace {

char folded(char c) {
    return c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

constexpr std::array verbs = {std::string_view{"list"},       std::string_view{"param-list"},
                              std::string_view{"param-get"},  std::string_view{"param-set"},
                              std::string_view{"param-add"},  std::string_view{"param-remove"},
                              std::string_view{"param-clear"}};

bool is_collection(const Field& field) {
    return field.tag != Tag::ro && field.tag != Tag::rw;
}

}  // namespace

const Field* Object::field(std::string_view field_name) const {
    const auto place = std::ranges::find_if(fields, [field_name](const Field& field) {
        return std::ranges::equal(field.name, field_name, {}, folded, folded);
    });
    return place == fields.end() ? nullptr : &*place;
}

const Command* find_command(std::string_view name) {
    const auto all = commands();
    const auto place = std::ranges::lower_bound(all, name, {}, &Command::name);
    return place != all.end() && place->name == name ? &*place : nullptr;
}

std::string_view error_text(std::string_view code) {
    const auto all = error_texts();
    const auto place = std::ranges::lower_bound(all, code, {}, &ErrorText::code);
    return place != all.end() && place->code == code ? place->text : std::string_view{};
}

std::string_view verb_name(Verb verb) {
    return verbs[static_cast<std::size_t>(verb)];
}

bool has_verb(const Object& object, Verb verb) {
    const auto any = [&object](auto predicate) {
        return std::ranges::any_of(object.fields, predicate);
    };
    switch (verb) {
        case Verb::list:
        case Verb::param_list:
        case Verb::param_get:
            return true;
        case Verb::param_set:
            return any([](const Field& f) {
                return (f.abilities & (able::set | able::add | able::set_in_map | able::set_map)) !=
                       0;
            });
        case Verb::param_add:
            return any([](const Field& f) { return f.can(able::add); });
        case Verb::param_remove:
            return any([](const Field& f) { return f.can(able::remove); });
        case Verb::param_clear:
            return any([](const Field& f) { return f.can(able::set) || is_collection(f); });
    }
    return false;
}

ObjectCommand find_object_command(std::string_view name) {
    for (std::size_t i = 0; i < verbs.size(); ++i) {
        if (!name.ends_with(verbs[i])) continue;
        std::string_view prefix = name.substr(0, name.size() - verbs[i].size());
        if (!prefix.ends_with('-')) continue;
        prefix.remove_suffix(1);
        for (const Object& object : objects()) {
            const auto verb = static_cast<Verb>(i);
            if (object.name == prefix && has_verb(object, verb)) return {&object, verb};
        }
    }
    return {nullptr, Verb::list};
}

}  // namespace basalt::cli
