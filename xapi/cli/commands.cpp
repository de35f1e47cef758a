#include "xapi/cli/commands.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.hpp"

namespace basalt::cli {

namespace {

bool unreserved(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
}

/// Waits until a task has ended, without polling: each wait ends with a change or after 30 s.
Task<wire::Value> ended_task(Session& session, std::string task) {
    std::string token;
    for (;;) {
        wire::Value record = co_await session.call("task.get_record", args(task));
        const std::string status = text_member(record, "status");
        if (status != "pending" && status != "cancelling") co_return record;
        wire::Array classes;
        classes.emplace_back("task/" + task);
        const wire::Value batch =
            co_await session.call("event.from", args(std::move(classes), token, 30.0));
        token = text_member(batch, "token");
    }
}

/// The plain text of a task's result, which is a value in XML.
std::string plain_result(std::string text) {
    constexpr std::string_view open = "<value>", close = "</value>";
    if (text.starts_with(open) && text.ends_with(close))
        text = text.substr(open.size(), text.size() - open.size() - close.size());
    return text;
}

ApiError error_of(const wire::Value& record) {
    const wire::Array info = list_member(record, "error_info");
    if (info.empty()) return {"CLIENT_ERROR", {}};
    std::vector<std::string> params;
    for (std::size_t i = 1; i < info.size(); ++i)
        params.push_back(shown(info[i]));
    return {shown(info.front()), std::move(params)};
}

Task<void> print_command_help(Terminal& terminal, std::string name) {
    const auto words = [](std::span<const std::string_view> all) {
        std::string out;
        for (const std::string_view word : all)
            out += (out.empty() ? "" : ", ") + std::string(word);
        return out;
    };
    if (const Command* command = find_command(name)) {
        std::string text = "command name            : " + name +
                           "\n        reqd params     : " + words(command->required) +
                           "\n        optional params : " + words(command->optional);
        if (command->is(flag::vm_selectors)) text += " [and VM selectors]";
        if (command->is(flag::host_selectors)) text += " [and host selectors]";
        if (command->is(flag::sr_selectors)) text += " [and SR selectors]";
        if (!command->instead.empty())
            text += "\n        deprecated, see : " + std::string(command->instead);
        co_await terminal.print(text + "\n");
        co_return;
    }
    const ObjectCommand generated = find_object_command(name);
    if (generated.object == nullptr) {
        co_await terminal.print("Unknown command: " + name);
        co_return;
    }
    std::string fields;
    for (const Field& field : generated.object->fields)
        if (!field.can(able::hidden))
            fields += (fields.empty() ? "" : ", ") + std::string(field.name);
    co_await terminal.print("command name            : " + name +
                            "\n        fields          : " + fields + "\n");
}

std::string all_names(bool everything) {
    std::vector<std::string> names;
    for (const Command& command : commands()) {
        if (command.is(flag::hidden | flag::deprecated)) continue;
        if (everything || command.is(flag::standard)) names.emplace_back(command.name);
    }
    for (const Object& object : objects()) {
        for (const Verb verb : {Verb::list, Verb::param_list, Verb::param_get, Verb::param_set,
                                Verb::param_add, Verb::param_remove, Verb::param_clear}) {
            const bool usual = verb == Verb::list && (object.name == "vm" || object.name == "sr" ||
                                                      object.name == "template");
            if ((everything || usual) && has_verb(object, verb))
                names.push_back(std::string(object.name) + "-" + std::string(verb_name(verb)));
        }
    }
    std::ranges::sort(names);
    std::string out;
    for (const std::string& name : names)
        out += (out.empty() ? "" : ", ") + name;
    return out;
}

}  // namespace

CommandFunction find_function(std::string_view name) {
    for (const CommandFunctions* all :
         {&vm_commands(), &vm_device_commands(), &snapshot_commands(), &storage_commands(),
          &host_commands(), &transfer_commands(), &file_commands(), &recovery_commands(),
          &diagnostic_commands(), &other_commands()}) {
        for (const auto& [own, function] : *all)
            if (own == name) return function;
    }
    return nullptr;
}

Task<void> print_help(Terminal& terminal, const Params& params) {
    bool asked = false;
    for (const auto& [name, value] : params.all()) {
        if (!value.empty() || name == "minimal") continue;
        asked = true;
        co_await print_command_help(terminal, name);
    }
    if (asked) co_return;
    const bool everything = params.has("all");
    co_await terminal.print(
        "Usage: xe <command> [-s server] [-pw password] [-p port] [-u user] [-pwf password-file]\n"
        "          [command parameters]\n\n"
        "Help on one command: xe help <command>. All commands: xe help --all.\n\n" +
        std::string(everything ? "All commands:\n" : "Common commands:\n") + all_names(everything));
}

Task<void> confirm(Invocation& run, std::string question) {
    if (run.params.truth("force")) co_return;
    if (!question.empty()) co_await run.terminal.print(std::move(question));
    co_await run.terminal.print("Type 'yes' to continue");
    const std::string typed = co_await run.terminal.prompt();
    std::string word;
    for (const char c : typed) {
        if (std::isspace(static_cast<unsigned char>(c)) == 0)
            word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    if (word == "yes") co_return;
    co_await run.terminal.print("Aborted (you typed: '" + typed + "')");
    throw Exit{1};
}

Task<std::string> transfer_with_task(Invocation& run, Instruction::Kind kind, std::string file,
                                     std::string url) {
    const std::string task =
        co_await run.session.text("task.create", args(run.name, std::string("A transfer for xe")));
    url += url.find('?') == std::string::npos ? '?' : '&';
    url += "session_id=" + run.session.ref() + "&task_id=" + task;
    const bool worked = co_await run.terminal.transfer({kind, std::move(file), std::move(url)});
    wire::Value record;
    if (worked) {
        record = co_await ended_task(run.session, task);
    } else {
        record = co_await run.session.call("task.get_record", args(task));
    }
    co_await run.session.call("task.destroy", args(task));
    const bool success = worked && text_member(record, "status") == "success";
    if (!success) throw error_of(record);
    co_return plain_result(text_member(record, "result"));
}

std::string url_encoded(std::string_view text) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (unreserved(c)) {
            out += c;
        } else {
            out += {'%', digits[byte >> 4U], digits[byte & 15U]};
        }
    }
    return out;
}

}  // namespace basalt::cli
