#include "xapi/cli/call_command.hpp"

#include <algorithm>
#include <cctype>

#include "xapi/cli/convert.hpp"
#include "xapi/cli/select.hpp"

namespace basalt::cli {

namespace {

using xenapi::TypeKind;

/// `type:name=default|form`, taken apart.
struct Argument {
    std::string type;
    std::string name;
    std::optional<std::string> otherwise;
    std::string form;
};

Argument parse_argument(std::string_view text) {
    Argument out;
    if (const auto bar = text.find('|'); bar != std::string_view::npos) {
        out.form = text.substr(bar + 1);
        text = text.substr(0, bar);
    }
    if (const auto equals = text.find('='); equals != std::string_view::npos) {
        out.otherwise = text.substr(equals + 1);
        text = text.substr(0, equals);
    }
    if (const auto colon = text.find(':'); colon != std::string_view::npos) {
        out.type = text.substr(0, colon);
        text = text.substr(colon + 1);
    }
    out.name = text;
    return out;
}

/// What users write in any case, as the enumerations of addresses spell it.
std::string ip_mode(std::string text) {
    for (char& c : text)
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (text == "dhcp") return "DHCP";
    if (text == "ipv4") return "IPv4";
    if (text == "ipv6") return "IPv6";
    if (!text.empty())
        text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
    return text;
}

std::string text_of(const Invocation& run, const Argument& argument) {
    const std::string* given = run.params.find(argument.name);
    std::string text = given != nullptr ? *given : argument.otherwise.value_or("");
    return argument.form == "ip_mode" ? ip_mode(std::move(text)) : text;
}

/// Some commands call a parameter by two names; a number must come from one of them.
std::string number_text(const Invocation& run, const Argument& argument) {
    if (!argument.otherwise) static_cast<void>(run.params.need(argument.name));
    return text_of(run, argument);
}

Task<wire::Value> reference(Invocation& run, const Argument& argument) {
    std::string class_name = argument.type;
    const char how = class_name.back();
    if (how == '?' || how == '*' || how == '@') class_name.pop_back();
    const std::string text = text_of(run, argument);
    if (how == '*') {
        wire::Array refs;
        for (std::string& uuid : split_items(text)) {
            std::string ref = co_await run.session.by_uuid(class_name, std::move(uuid));
            refs.emplace_back(std::move(ref));
        }
        co_return wire::Value(std::move(refs));
    }
    if (text.empty() && how == '?') co_return wire::Value(std::string(null_ref));
    if (text.empty() && how == '@') co_return wire::Value(co_await the_coordinator(run));
    static_cast<void>(run.params.need(argument.name));
    co_return wire::Value(co_await run.session.by_uuid(class_name, text));
}

Task<wire::Value> argument_value(Invocation& run, Argument argument) {
    const std::string& type = argument.type;
    if (type.empty()) co_return wire::Value(text_of(run, argument));
    if (type == "map") co_return wire::Value(run.params.map(argument.name));
    if (type == "bool") {
        const std::string text = number_text(run, argument);
        co_return wire::Value(parse_truth(argument.name, text));
    }
    if (type == "int") {
        const std::string text = number_text(run, argument);
        co_return wire::Value(parse_number(argument.name, text));
    }
    if (type == "bytes") {
        const std::string text = number_text(run, argument);
        co_return wire::Value(parse_bytes(argument.name, text));
    }
    if (type == "float") {
        const std::string text = number_text(run, argument);
        co_return co_await typed_value(run.facts, &xenapi::type_ops<double>(), argument.name, text);
    }
    if (type == "set") {
        wire::Array items;
        for (std::string& item : split_items(text_of(run, argument)))
            items.emplace_back(std::move(item));
        co_return wire::Value(std::move(items));
    }
    co_return co_await reference(run, argument);
}

/// `{name_label=name-label,MTU=int:MTU=1500}`.
Task<wire::Value> record_argument(Invocation& run, std::string_view text) {
    wire::Object out;
    for (const std::string& member : split_items(text.substr(1, text.size() - 2))) {
        const auto equals = member.find('=');
        wire::Value value = co_await argument_value(
            run, parse_argument(std::string_view(member).substr(equals + 1)));
        out.push_back({member.substr(0, equals), std::move(value)});
    }
    co_return wire::Value(std::move(out));
}

Task<std::vector<std::string>> selection(Invocation& run, std::string_view selector) {
    if (selector == "@vm") {
        // A selection of many means ordinary VMs; dom0 and templates must be named.
        const bool named = run.params.has("uuid") || run.params.has("vm");
        co_return co_await select_vms(run, {.control_domains = named, .templates = named});
    }
    if (selector == "@host") co_return co_await select_hosts(run);
    if (selector == "@sr") co_return co_await select_srs(run);
    std::vector<std::string> pool;
    pool.push_back(co_await the_pool(run));
    co_return pool;
}

Task<void> call_once(Invocation& run, std::string selected) {
    wire::Array params;
    for (const std::string_view text : run.command->arguments) {
        if (text.starts_with('@')) {
            params.emplace_back(selected);
        } else if (text.starts_with('{')) {
            params.push_back(co_await record_argument(run, text));
        } else {
            params.push_back(co_await argument_value(run, parse_argument(text)));
        }
    }
    const std::string method(run.command->method);
    wire::Value answer = co_await run.session.call(method, std::move(params));
    co_await print_answer(run, method, std::move(answer));
}

std::string_view class_of_selector(std::string_view selector) {
    if (selector == "@vm") return "VM";
    if (selector == "@host") return "host";
    return selector == "@sr" ? "SR" : "pool";
}

}  // namespace

Task<void> run_call_command(Invocation& run) {
    std::string_view selector;
    for (const std::string_view text : run.command->arguments)
        if (text.starts_with('@')) selector = text;
    if (selector.empty()) {
        co_await call_once(run, {});
        co_return;
    }
    std::vector<std::string> refs = co_await selection(run, selector);
    co_await for_each_object(run, std::string(class_of_selector(selector)), std::move(refs),
                             [&run](std::string ref) { return call_once(run, std::move(ref)); });
}

Task<void> print_answer(Invocation& run, std::string method, wire::Value answer) {
    const xenapi::MessageInfo* message = xenapi::find_message(method);
    if (message == nullptr || message->result == nullptr) co_return;
    const xenapi::ClassInfo* cls = class_behind(message->result);
    if (const auto* map = answer.get<wire::Object>()) {
        Lines lines;
        for (const auto& [name, value] : *map) {
            std::string key = name;
            if (message->result->key != nullptr && message->result->key->kind == TypeKind::ref) {
                const auto& of = xenapi::classes()[message->result->key->class_index];
                key = co_await run.facts.uuid_and_name(std::string(of.name), name);
            }
            std::string text = shown(value);
            if (const auto* list = value.get<wire::Array>()) {
                for (const wire::Value& item : *list)
                    text += (text.empty() ? "" : ", ") + shown(item);
            }
            lines.emplace_back(std::move(key), std::move(text));
        }
        std::vector<Lines> all;
        all.push_back(std::move(lines));
        co_await run.printer.records(std::move(all));
        co_return;
    }
    wire::Array items;
    if (const auto* list = answer.get<wire::Array>()) {
        items = *list;
    } else {
        items.push_back(std::move(answer));
    }
    std::vector<std::string> out;
    for (const wire::Value& item : items) {
        std::string text = shown(item);
        if (cls != nullptr && !is_null_ref(text))
            text = co_await run.session.uuid_of(std::string(cls->name), text);
        out.push_back(std::move(text));
    }
    co_await run.printer.items(std::move(out));
}

}  // namespace basalt::cli
