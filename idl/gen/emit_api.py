"""The classes that the domain implements, and the thunks by which rpc calls them."""

from emit_tables import groups
from emit_types import HEAD
from model import Class, Message, Model, params_name
from names import member, quote


def pointer(cls: Class) -> str:
    """Its name in struct Apis: VM -> vm, host_cpu -> host_cpu."""
    return member(cls.name.lower())


def signature(cls: Class, m: Message) -> str:
    params = f", {params_name(cls, m)} params" if m.params else ""
    return f"basalt::Task<{m.cpp_result}> {member(m.name)}(Call& call{params})"


def emit_api_header(model: Model, cls: Class) -> str:
    lines = []
    for m in cls.served:
        lines.append(f"    virtual {signature(cls, m)};\n")
    records = sorted({f'"idl/records/{n.lower()}.hpp"'
                      for m in cls.served if m.result for n in m.result.classes("record")})
    if any(m.reply for m in cls.served):
        records.append('"idl/runtime/event_batch.hpp"')
    extra = "".join(f"#include {r}\n" for r in records)
    checks = "".join(
        f"    if (!std::is_same_v<decltype(&Impl::{member(m.name)}), "
        f"decltype(&{cls.cpp}Api::{member(m.name)})>) thunks.push_back({m.thunk});\n"
        for m in cls.served)
    return (
        f"{HEAD}#pragma once\n#include <type_traits>\n#include <vector>\n\n"
        f'#include "base/async.hpp"\n#include "idl/params/{cls.name.lower()}.hpp"\n{extra}\n'
        "namespace basalt {\nclass Call;\n}\n\nnamespace basalt::xenapi {\n\n"
        f"/// What the domain does for class {cls.name}. Each default body throws NOT_IMPLEMENTED.\n"
        f"class {cls.cpp}Api {{\n  public:\n    {cls.cpp}Api() = default;\n"
        f"    {cls.cpp}Api(const {cls.cpp}Api&) = delete;\n"
        f"    {cls.cpp}Api& operator=(const {cls.cpp}Api&) = delete;\n"
        f"    virtual ~{cls.cpp}Api();\n\n{''.join(lines)}}};\n\n"
        f"/// Appends the thunk numbers of what Impl overrides.\n"
        f"template <class Impl>\nvoid collect_overrides(const {cls.cpp}Api* /*tag*/, "
        f"std::vector<int>& thunks) {{\n{checks}}}\n\n}}  // namespace basalt::xenapi\n"
    )


def emit_apis(model: Model) -> str:
    served = [c for c in model.classes if c.served]
    forwards = "".join(f"class {c.cpp}Api;\n" for c in served)
    members = "".join(f"    {c.cpp}Api* {pointer(c)} = nullptr;\n" for c in served)
    uses = "".join(
        f"    template <class Impl>\n        requires std::derived_from<Impl, {c.cpp}Api>\n"
        f"    void use(Impl& api) {{\n        {pointer(c)} = &api;\n"
        f"        note<Impl, {c.cpp}Api>();\n    }}\n\n" for c in served)
    count = sum(len(c.served) for c in served)
    return (
        f"{HEAD}#pragma once\n#include <bitset>\n#include <concepts>\n#include <span>\n"
        '#include <vector>\n\n#include "base/async.hpp"\n'
        '#include "idl/runtime/model.hpp"\n#include "idl/runtime/reply.hpp"\n\n'
        "namespace basalt {\nclass Call;\n}\n\n"
        f"namespace basalt::xenapi {{\n\n{forwards}\n"
        f"inline constexpr std::size_t thunk_count = {count};\n\n"
        "/// The domain as rpc sees it. Classes nobody gave answer NOT_IMPLEMENTED.\n"
        "/// Who calls use() includes that class's idl/api/*_api.hpp.\n"
        "struct Apis {\n    Apis();\n\n"
        "    /// Serves the class by `api`, which outlives this; main.cpp calls it once a class.\n"
        f"{uses}"
        "    /// Whether somebody overrides the message's default body.\n"
        "    [[nodiscard]] bool implements(const MessageInfo& info) const {\n"
        "        return info.thunk >= 0 && implemented[static_cast<std::size_t>(info.thunk)];\n"
        f"    }}\n\n{members}    std::bitset<thunk_count> implemented;\n\n"
        "  private:\n    template <class Impl, class Api>\n    void note() {\n"
        "        std::vector<int> thunks;\n"
        "        collect_overrides<Impl>(static_cast<const Api*>(nullptr), thunks);\n"
        "        for (const int thunk : thunks) implemented.set(static_cast<std::size_t>(thunk));\n"
        "    }\n};\n\n"
        "/// Decodes the parameters (without the session; at least message.required), calls the\n"
        "/// domain, and erases the type of the answer. Not a coroutine: `args` may go once it returns,\n"
        "/// but decoding errors are thrown at once.\n"
        "using Thunk = basalt::Task<Reply> (*)(const Apis& apis, Call& call,\n"
        "                                      std::span<const wire::Value> args);\n\n"
        "/// By MessageInfo::thunk.\n[[nodiscard]] std::span<const Thunk> thunks();\n"
        "/// The message of each thunk.\n[[nodiscard]] std::span<const MessageInfo* const> thunk_messages();\n\n"
        "}  // namespace basalt::xenapi\n"
    )


def emit_api_unit(model: Model, classes: list[Class]) -> str:
    out, includes = [], []
    for cls in classes:
        if not cls.served:
            continue
        includes.append(f'#include "idl/api/{cls.name.lower()}_api.hpp"\n')
        out.append(f"{cls.cpp}Api::~{cls.cpp}Api() = default;\n\n")
        for m in cls.served:
            params = f", {params_name(cls, m)} /*params*/" if m.params else ""
            out.append(f"basalt::Task<{m.cpp_result}> {cls.cpp}Api::{member(m.name)}(Call& /*call*/"
                       f"{params}) {{\n    not_implemented({quote(cls.name + '.' + m.name)});\n}}\n\n")
    return (f"{HEAD}{''.join(includes)}#include \"idl/runtime/finish.hpp\"\n\n"
            f"namespace basalt::xenapi {{\n\n{''.join(out)}}}  // namespace basalt::xenapi\n")


def emit_thunk_unit(model: Model, classes: list[Class]) -> str:
    out, includes = [], set()
    for cls in classes:
        for m in cls.served:
            name = f"thunk_{m.thunk}"
            includes.add(f'#include "idl/api/{cls.name.lower()}_api.hpp"\n')
            if m.result:
                includes |= {f'#include "idl/records/{n.lower()}.hpp"\n'
                             for n in m.result.classes("record")}
            call = f"apis.{pointer(cls)}->{member(m.name)}"
            if m.params:
                out.append(
                    f"basalt::Task<Reply> {name}(const Apis& apis, Call& call, Args args) {{\n"
                    f"    {params_name(cls, m)} params;\n    read_params({cls.name.lower()}_messages"
                    f"[{cls.messages.index(m)}], args, &params);\n"
                    f"    return finish({call}(call, std::move(params)));\n}}\n\n")
            else:
                out.append(
                    f"basalt::Task<Reply> {name}(const Apis& apis, Call& call, Args /*args*/) {{\n"
                    f"    return finish({call}(call));\n}}\n\n")
    return (f'{HEAD}#include "idl/apis.hpp"\n{"".join(sorted(includes))}'
            '#include "idl/runtime/finish.hpp"\n#include "idl/runtime/record_codec.hpp"\n'
            '#include "idl/tables.hpp"\n#include "idl/thunks.hpp"\n\n'
            f"namespace basalt::xenapi::tables {{\n\n{''.join(out)}"
            "}  // namespace basalt::xenapi::tables\n")


def emit_thunk_header(model: Model) -> str:
    lines = "".join(f"basalt::Task<Reply> thunk_{m.thunk}(const Apis&, Call&, Args);\n"
                    for c in model.classes for m in c.served)
    return (f'{HEAD}#pragma once\n// Internal to the generated thunks.\n#include "idl/apis.hpp"\n\n'
            "namespace basalt::xenapi::tables {\n\nusing Args = std::span<const wire::Value>;\n\n"
            f"{lines}\n}}  // namespace basalt::xenapi::tables\n")


def emit_apis_source(model: Model) -> str:
    served = [c for c in model.classes if c.served]
    includes = "".join(f'#include "idl/api/{c.name.lower()}_api.hpp"\n' for c in served)
    defaults = "".join(f"    static {c.cpp}Api {pointer(c)}_default;\n    {pointer(c)} = "
                       f"&{pointer(c)}_default;\n" for c in served)
    messages = [(c, m) for c in served for m in c.served]
    thunk_rows = "".join(f"    tables::thunk_{m.thunk},\n" for _, m in messages)
    info_rows = "".join(f"    &tables::{c.name.lower()}_messages[{c.messages.index(m)}],\n"
                        for c, m in messages)
    return (
        f'{HEAD}#include "idl/apis.hpp"\n\n{includes}#include "idl/tables.hpp"\n#include "idl/thunks.hpp"\n\n'
        f"namespace basalt::xenapi {{\n\nApis::Apis() {{\n{defaults}}}\n\n"
        "namespace {\n\n"
        f"constexpr Thunk all_thunks[] = {{\n{thunk_rows}}};\n\n"
        f"constexpr const MessageInfo* all_messages[] = {{\n{info_rows}}};\n\n}}  // namespace\n\n"
        "std::span<const Thunk> thunks() { return all_thunks; }\n\n"
        "std::span<const MessageInfo* const> thunk_messages() { return all_messages; }\n\n"
        "}  // namespace basalt::xenapi\n")


def emit_finish_unit(model: Model, part: int, count: int) -> str:
    answers = {m.cpp_result: m.result for c in model.classes for m in c.served if m.result}
    results = sorted(answers)
    chosen = results[len(results) * part // count : len(results) * (part + 1) // count]
    records = {n for r in chosen for n in answers[r].classes("record")}
    includes = "".join(f'#include "idl/records/{n.lower()}.hpp"\n' for n in sorted(records))
    lines = "".join(f"template basalt::Task<Reply> finish(basalt::Task<{r}>);\n" for r in chosen)
    return (f'{HEAD}#include "idl/classes.hpp"\n#include "idl/enums.hpp"\n{includes}'
            '#include "idl/runtime/datetime.hpp"\n#include "idl/runtime/event_batch.hpp"\n'
            '#include "idl/runtime/map.hpp"\n#include "idl/runtime/secret_string.hpp"\n'
            f'#include "idl/runtime/finish_impl.hpp"\n\nnamespace basalt::xenapi {{\n\n{lines}\n'
            "}  // namespace basalt::xenapi\n")


def api_groups(model: Model, count: int) -> list[list[Class]]:
    return groups(model, count)
