#include "xapi/cli/select.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "xapi/cli/failure.hpp"
#include "xapi/cli/object_commands.hpp"

namespace basalt::cli {

namespace {

struct Selector {
    std::string_view object;  ///< whose fields are filters
    std::string_view pseudo;  ///< the parameter that matches any of `names`
    std::vector<std::string_view> names;
    std::string_view plural;
};

bool belongs_to(const Command* command, std::string_view name) {
    if (command == nullptr) return false;
    const auto is = [name](std::string_view own) {
        return own == name || (own.ends_with(':') && name.starts_with(own)) ||
               (own.ends_with('-') && name.starts_with(own));
    };
    // uuid selects even where the table lists it for completion.
    return name != "uuid" && (std::ranges::any_of(command->required, is) ||
                              std::ranges::any_of(command->optional, is));
}

Task<bool> matches_any_name(Facts& facts, const Object& object, const Selector& selector,
                            std::string ref, std::string value) {
    for (const std::string_view name : selector.names) {
        const bool same = co_await has_value(facts, object, ref, std::string(name), value);
        if (same) co_return true;
    }
    co_return false;
}

Task<bool> selected(Invocation& run, const Object& object, const Selector& selector,
                    std::string ref) {
    for (const auto& [name, value] : run.params.all()) {
        const bool by_name = name == selector.pseudo;
        if (is_common_parameter(name) || (!by_name && belongs_to(run.command, name))) continue;
        bool same = false;
        if (by_name) {
            same = co_await matches_any_name(run.facts, object, selector, ref, value);
        } else {
            same = co_await has_value(run.facts, object, ref, name, value);
        }
        if (!same) co_return false;
    }
    co_return true;
}

/// With a uuid among the filters only that object need be read.
Task<std::vector<std::string>> candidates(Invocation& run, std::string class_name) {
    const std::string* uuid = run.params.find("uuid");
    if (uuid == nullptr) co_return co_await run.facts.all(std::move(class_name));
    std::vector<std::string> one;
    try {
        one.push_back(co_await run.session.by_uuid(std::move(class_name), *uuid));
    } catch (const ApiError& error) {
        if (error.code() != "UUID_INVALID") throw;
    }
    co_return one;
}

Task<std::vector<std::string>> select(Invocation& run, const Selector& selector, VmScope scope) {
    const Object& object = object_named(selector.object);
    const std::string class_name(object.class_name);
    const bool vms = class_name == "VM";
    std::vector<std::string> found;
    for (std::string& ref : co_await candidates(run, class_name)) {
        const wire::Value* record = co_await run.facts.record(class_name, ref);
        if (record == nullptr) continue;
        if (vms && !scope.control_domains && true_member(*record, "is_control_domain")) continue;
        if (vms && !scope.templates && true_member(*record, "is_a_template")) continue;
        const bool wanted = co_await selected(run, object, selector, ref);
        if (wanted) found.push_back(std::move(ref));
    }
    if (found.empty()) throw CommandError("No matching " + std::string(selector.plural) + " found");
    if (found.size() > 1 && !run.params.truth("multiple")) {
        throw CommandError("Multiple matching " + std::string(selector.plural) +
                           " found. --multiple required to complete the operation");
    }
    co_return found;
}

}  // namespace

Task<std::vector<std::string>> select_vms(Invocation& run, VmScope scope) {
    const Selector selector{"vm", "vm", {"uuid", "name-label"}, "VMs"};
    co_return co_await select(run, selector, scope);
}

Task<std::vector<std::string>> select_hosts(Invocation& run) {
    const Selector selector{"host", "host", {"uuid", "hostname", "name-label"}, "hosts"};
    co_return co_await select(run, selector, {});
}

Task<std::vector<std::string>> select_srs(Invocation& run) {
    const Selector selector{"sr", "sr", {"uuid", "name-label"}, "SRs"};
    co_return co_await select(run, selector, {});
}

Task<void> for_each_object(Invocation& run, std::string class_name, std::vector<std::string> refs,
                           ObjectWork work) {
    if (refs.size() == 1) {
        co_await work(refs.front());
        co_return;
    }
    bool failed = false;
    for (const std::string& ref : refs) {
        std::string why;
        try {
            co_await work(ref);
        } catch (const ApiError& error) {
            why = error_line(error);
        } catch (const CommandError& error) {
            why = error.what();
        }
        if (why.empty()) continue;
        failed = true;
        const wire::Value* record = co_await run.facts.record(class_name, ref);
        const std::string uuid = record == nullptr ? ref : text_member(*record, "uuid");
        co_await run.terminal.print("operation failed on " + uuid + ": " + why);
    }
    if (failed) throw Exit{1};
}

Task<std::string> the_pool(Invocation& run) {
    const std::vector<std::string> pools = co_await run.facts.all("pool");
    if (pools.empty()) throw CommandError("there is no pool");
    co_return pools.front();
}

Task<std::string> the_coordinator(Invocation& run) {
    const std::string pool = co_await the_pool(run);
    const wire::Value* record = co_await run.facts.record("pool", pool);
    co_return record == nullptr ? std::string{} : text_member(*record, "master");
}

}  // namespace basalt::cli
