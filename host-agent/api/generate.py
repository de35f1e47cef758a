#!/usr/bin/env python3
"""Makes agent_values.hpp/.cpp and agent_verbs.hpp/.cpp from verbs.toml."""
import sys
import tomllib
from pathlib import Path

HEAD = "// Generated from host-agent/api/verbs.toml.\n"
SCALARS = {"string": "std::string", "secret": "std::string", "bool": "bool", "int": "std::int64_t", "float": "double"}


class Model:
    def __init__(self, facts):
        self.enums = facts.get("enum", {})
        self.structs = facts.get("struct", {})
        self.verbs = facts.get("verb", {})
        self.events = facts.get("event", {})

    def cpp(self, kind):
        if kind.endswith("?"):
            return f"std::optional<{self.cpp(kind[:-1])}>"
        if kind.startswith("["):
            return f"std::vector<{self.cpp(kind[1:-1])}>"
        if kind.startswith("{"):
            return f"std::map<std::string, {self.cpp(kind[1:-1])}>"
        if kind in SCALARS:
            return SCALARS[kind]
        if kind in self.enums or kind in self.structs:
            return kind
        raise SystemExit(f"verbs.toml: unknown type {kind}")


def camel(name):
    return "".join(part.capitalize() for part in name.split("_"))


def word(name):
    return name + "_" if name in {"default", "new", "class"} else name


def fields_of(model, fields):
    out = []
    for name, kind in fields.items():
        cpp = model.cpp(kind)
        initial = "{}" if cpp in {"bool", "std::int64_t", "double"} or kind in model.enums else ""
        out.append(f"    {cpp} {word(name)}{initial};")
    return "\n".join(out)


def values_header(model):
    out = [HEAD + "#pragma once", "#include <cstdint>", "#include <map>", "#include <nlohmann/json_fwd.hpp>",
           "#include <optional>", "#include <string>", "#include <string_view>", "#include <vector>", "",
           "namespace basalt::agent {", ""]
    for name, words in model.enums.items():
        out.append(f"enum class {name} : std::uint8_t {{ {', '.join(words)} }};")
        out.append(f"std::string_view text({name} value);")
        out.append(f"void to_json(nlohmann::json& json, {name} value);")
        out.append(f"void from_json(const nlohmann::json& json, {name}& value);\n")
    for name, fields in model.structs.items():
        out.append(f"struct {name} {{\n{fields_of(model, fields)}\n    bool operator==(const {name}&) const = default;\n}};")
        out.append(f"void to_json(nlohmann::json& json, const {name}& value);")
        out.append(f"void from_json(const nlohmann::json& json, {name}& value);\n")
    out.append("}  // namespace basalt::agent")
    return "\n".join(out) + "\n"


def struct_codec(name, fields):
    out = [f"void to_json(Json& json, const {name}& value) {{", "    json = Json::object();"]
    for field, kind in fields.items():
        put = f'json["{field}"] = {"*" if kind.endswith("?") else ""}value.{word(field)};'
        out.append(f"    if (value.{word(field)}) {put}" if kind.endswith("?") else f"    {put}")
    out += ["}", "", f"void from_json(const Json& json, {name}& value) {{"]
    for field in fields:
        out.append(f'    take(json, "{field}", value.{word(field)});')
    return out + ["}", ""]


TAKE = """
// A member that is absent keeps its default: an older peer may not know it yet.
template <class T>
void take(const Json& json, const char* name, T& out) {
    if (const auto found = json.find(name); found != json.end()) found->get_to(out);
}

template <class T>
void take(const Json& json, const char* name, std::optional<T>& out) {
    if (const auto found = json.find(name); found != json.end() && !found->is_null()) out = found->get<T>();
}
"""


def values_source(model):
    out = [HEAD + '#include "agent_values.hpp"', "", "#include <array>", "#include <stdexcept>", "",
           '#include "base/json.hpp"', "", "namespace basalt::agent {", "", "namespace {", TAKE, "}  // namespace", ""]
    for name, words in model.enums.items():
        texts = ", ".join(f'"{w}"' for w in words)
        out.append(f"namespace {{\nconstexpr std::array<std::string_view, {len(words)}> {name}_texts = {{{texts}}};\n}}")
        out.append(f"std::string_view text({name} value) {{ return {name}_texts.at(static_cast<std::size_t>(value)); }}")
        out.append(f"void to_json(Json& json, {name} value) {{ json = std::string(text(value)); }}")
        out.append(f"void from_json(const Json& json, {name}& value) {{\n    const auto& word = json.get_ref<const std::string&>();\n"
                   f"    for (std::size_t i = 0; i < {name}_texts.size(); ++i)\n        if ({name}_texts.at(i) == word) {{\n"
                   f"            value = static_cast<{name}>(i);\n            return;\n        }}\n"
                   f'    throw std::invalid_argument("not a {name}: " + word);\n}}\n')
    for name, fields in model.structs.items():
        out += struct_codec(name, fields)
    out.append("}  // namespace basalt::agent")
    return "\n".join(out) + "\n"


def result_of(model, verb):
    if verb.get("fds"):
        return "UniqueFd"
    return model.cpp(verb["result"]) if "result" in verb else "void"


def verbs_header(model):
    out = [HEAD + "#pragma once", "#include <functional>", "", '#include "agent_values.hpp"', '#include "base/async.hpp"', '#include "base/error.hpp"',
           '#include "base/fd.hpp"', '#include "base/loop.hpp"', '#include "base/rpc_fwd.hpp"', "",
           "namespace basalt::agent {", "",
           "/// Names one act: the same id twice acts once. `term` is the caller's; hostd refuses lower ones than it has seen.",
           "struct Operation {\n    std::string id;\n    std::int64_t term{};\n    rpc::Progress progress;\n    std::string trace;  // of the call behind it, for the log lines of both daemons\n};\n"]
    for name, verb in model.verbs.items():
        out.append(f"struct {camel(name)}Args {{\n{fields_of(model, verb.get('args', {}))}\n}};")
    out.append("\n/// What a hostd can do. hostd implements it; xapi's `Client` calls it over a channel.\nclass Host {\n  public:\n    virtual ~Host() = default;")
    for name, verb in model.verbs.items():
        op = "Operation operation, " if verb.get("effect") else ""
        out.append(f"    virtual Task<{result_of(model, verb)}> {name}({op}{camel(name)}Args args) = 0;")
    out.append("};\n\n/// What a hostd tells unasked.\nclass Events {\n  public:\n    virtual ~Events() = default;")
    for name, kind in model.events.items():
        out.append(f"    virtual void on_{name}({model.cpp(kind)} value) = 0;")
    out.append("};\n")
    out.append("/// What the caller makes of an error: hostd knows uuids, clients know references.\n"
               "using Translate = std::function<ApiError(const ApiError&)>;\n\n"
               "/// Carries one verb to a hostd and its answer back.\n"
               "using Ask = std::function<Task<rpc::Reply>(std::string verb, nlohmann::json args, rpc::Progress progress)>;\n\n"
               "/// Calls a Host at the other end of a channel. The peer must outlive it.\nclass Client final : public Host {\n  public:\n"
               "    Client(Loop& loop, rpc::Peer& peer, Translate translate = {});\n"
               "    /// As it wants to be asked: over several channels, or more than once.\n"
               "    Client(Loop& loop, Ask ask, Translate translate = {}) : loop_(loop), ask_(std::move(ask)), translate_(std::move(translate)) {}")
    for name, verb in model.verbs.items():
        op = "Operation operation, " if verb.get("effect") else ""
        out.append(f"    Task<{result_of(model, verb)}> {name}({op}{camel(name)}Args args) override;")
    out.append("\n  private:\n    Task<rpc::Reply> ask(std::string verb, nlohmann::json args, rpc::Progress progress);\n\n"
               "    Loop& loop_;\n    Ask ask_;\n    Translate translate_;\n};\n")
    out.append("/// Decodes a request, calls `host`, encodes the answer. Unknown verbs: INTERNAL_ERROR.\n"
               "Task<rpc::Reply> serve(Host& host, rpc::Request request);\n")
    out.append("/// Decodes an event and hands it over; unknown ones are ignored.\nTask<void> deliver(Loop& loop, Events& events, std::string name, nlohmann::json args);\n")
    for name, kind in model.events.items():
        out.append(f"void tell_{name}(rpc::Peer& peer, const {model.cpp(kind)}& value);")
    out.append("\n/// The arguments of a verb that must not be logged.\nbool is_secret(const std::string& verb, const std::string& argument);\n"
               "/// Whether the verb changes something, and so carries an operation id and a term.\nbool has_effect(const std::string& verb);\n\n}  // namespace basalt::agent")
    return "\n".join(out) + "\n"


def client_call(model, name, verb):
    effect = verb.get("effect")
    result = result_of(model, verb)
    op = "Operation operation, " if effect else ""
    head = f"Task<{result}> Client::{name}({op}{camel(name)}Args args) {{"
    if not verb.get("args") and not effect:
        head = head.replace(" args)", ")")
    out = [head, "    Json json = Json::object();"]
    for field, kind in verb.get("args", {}).items():
        put = f'json["{field}"] = std::move({"*" if kind.endswith("?") else ""}args.{word(field)});'
        out.append(f"    if (args.{word(field)}) {put}" if kind.endswith("?") else f"    {put}")
    if not effect:
        out.append("    if (const std::string trace = log::current_trace(); !trace.empty()) json[\"trace\"] = trace;")
    if effect:
        out.append('    json["operation"] = operation.id;\n    json["term"] = operation.term;\n    json["trace"] = std::move(operation.trace);')
        if not verb.get("args"):
            out.append("    (void)args;")
    progress = "std::move(operation.progress)" if effect else "{}"
    out.append(f'    rpc::Reply reply = co_await ask("{name}", std::move(json), {progress});')
    if verb.get("fds"):
        out.append(f'    if (reply.fds.size() != 1) throw ApiError("INTERNAL_ERROR", {{"{name} answered without a socket"}});')
        out.append("    co_return std::move(reply.fds.front());")
    elif result != "void":
        # What was done stands, also when the caller was cancelled meanwhile: no wait may throw that now.
        out += [f"    if (rpc::is_small(reply.result)) co_return reply.result.get<{result}>();",
                "    const bool throwing = co_await asio::this_coro::throw_if_cancelled();",
                "    co_await asio::this_coro::throw_if_cancelled(false);",
                f"    auto value = co_await rpc::decoded<{result}>(loop_, std::move(reply.result));",
                "    co_await asio::this_coro::throw_if_cancelled(throwing);",
                "    co_return value;"]
    return out + ["}", ""]


def server_case(model, name, verb):
    out = [f"Task<rpc::Reply> serve_{name}(Host& host, [[maybe_unused]] rpc::Request request) {{", f"    {camel(name)}Args args;"]
    for field in verb.get("args", {}):
        out.append(f'    take(request.args, "{field}", args.{word(field)});')
    call = f"host.{name}(std::move(args))"
    if verb.get("effect"):
        out.append('    Operation operation{request.args.value("operation", std::string()), request.args.value("term", std::int64_t{0}),\n'
                   '                        std::move(request.progress), request.args.value("trace", std::string())};')
        call = f"host.{name}(std::move(operation), std::move(args))"
    if verb.get("fds"):
        out.append(f"    rpc::Reply reply;\n    reply.fds.push_back(co_await {call});\n    co_return reply;")
    elif "result" in verb:
        out.append(f"    auto result = co_await {call};\n    co_return rpc::Reply{{Json(std::move(result)), {{}}}};")
    else:
        out.append(f"    co_await {call};\n    co_return rpc::Reply{{}};")
    return out + ["}", ""]


def verbs_source(model):
    out = [HEAD + '#include "agent_verbs.hpp"', "", "#include <map>", "", '#include "base/context.hpp"', '#include "base/decoded.hpp"', '#include "base/json.hpp"', '#include "base/rpc.hpp"', "",
           "namespace basalt::agent {", "", "namespace {", TAKE]
    for name, verb in model.verbs.items():
        out += server_case(model, name, verb)
    out += ["using Server = Task<rpc::Reply> (*)(Host&, rpc::Request);", "", "const std::map<std::string, Server, std::less<>>& servers() {",
            "    static const std::map<std::string, Server, std::less<>> table = {"]
    out += [f'        {{"{name}", serve_{name}}},' for name in model.verbs]
    out += ["    };", "    return table;", "}", "", "Task<rpc::Reply> unknown_verb(std::string verb) {",
            '    throw ApiError("INTERNAL_ERROR", {"no such verb: " + verb});', "    co_return rpc::Reply{};", "}", "", "}  // namespace", ""]
    out += ["Client::Client(Loop& loop, rpc::Peer& peer, Translate translate)",
            "    : loop_(loop), ask_([&peer](std::string verb, Json args, rpc::Progress progress) {",
            "          return peer.call(std::move(verb), std::move(args), {}, std::move(progress));", "      }),",
            "      translate_(std::move(translate)) {}", "",
            "Task<rpc::Reply> Client::ask(std::string verb, Json args, rpc::Progress progress) {", "    std::optional<ApiError> refused;",
            "    try {", "        co_return co_await ask_(std::move(verb), std::move(args), std::move(progress));",
            "    } catch (const ApiError& error) {", "        refused = error;", "    }",
            "    throw translate_ ? translate_(*refused) : *refused;", "}", ""]
    for name, verb in model.verbs.items():
        out += client_call(model, name, verb)
    out += ["Task<rpc::Reply> serve(Host& host, rpc::Request request) {", "    const auto found = servers().find(request.verb);",
            "    if (found == servers().end()) return unknown_verb(request.verb);", "    return found->second(host, std::move(request));", "}", "",
            "Task<void> deliver(Loop& loop, Events& events, std::string name, Json args) {"]
    for name, kind in model.events.items():
        out.append(f'    if (name == "{name}") co_return events.on_{name}(co_await rpc::decoded<{model.cpp(kind)}>(loop, std::move(args)));')
    out += ["}", ""]
    for name, kind in model.events.items():
        out.append(f'void tell_{name}(rpc::Peer& peer, const {model.cpp(kind)}& value) {{ peer.notify("{name}", Json(value)); }}')
    secrets = [f'{{"{name}", "{arg}"}}' for name, verb in model.verbs.items() for arg, kind in verb.get("args", {}).items() if kind == "secret"]
    out += ["", "bool is_secret(const std::string& verb, const std::string& argument) {",
            f"    static const std::pair<std::string_view, std::string_view> secrets[] = {{{', '.join(secrets)}}};",
            "    for (const auto& [v, a] : secrets)\n        if (v == verb && a == argument) return true;\n    return false;", "}", ""]
    effects = ", ".join(f'"{name}"' for name, verb in model.verbs.items() if verb.get("effect"))
    out += ["bool has_effect(const std::string& verb) {", f"    static const std::string_view effects[] = {{{effects}}};",
            "    for (const auto& effect : effects)\n        if (effect == verb) return true;\n    return false;", "}", "",
            "}  // namespace basalt::agent"]
    return "\n".join(out) + "\n"


def write_if_changed(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def main(source, out):
    model = Model(tomllib.loads(Path(source).read_text()))
    for name, make in {"agent_values.hpp": values_header, "agent_values.cpp": values_source,
                       "agent_verbs.hpp": verbs_header, "agent_verbs.cpp": verbs_source}.items():
        write_if_changed(Path(out) / name, make(model))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
