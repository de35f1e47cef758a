"""Sources: the constant tables of classes, fields and messages, and of the types."""

from emit_types import HEAD
from model import Class, Message, Model, params_name
from names import member, quote

SIDES = {"none": "none", "stored": "stored", "mirror": "mirror", "both": "both"}
KINDS = {"one-to-many": "one_to_many", "many-to-many": "many_to_many", "one-to-one": "one_to_one"}
QUALIFIERS = {"RW": "rw", "StaticRO": "static_ro", "DynamicRO": "dynamic_ro"}


def boolean(value) -> str:
    return "true" if value else "false"


def life(value) -> str:
    return f"{{LifeState::{value.state}, {quote(value.history)}}}"


def array_name(cls: Class, what: str) -> str:
    return f"{cls.name.lower()}_{what}"


def groups(model: Model, count: int) -> list[list[Class]]:
    """Classes spread over `count` units of about the same weight; always the same way."""
    out = [[0, []] for _ in range(count)]
    heaviest = sorted(model.classes, key=lambda c: (-len(c.messages) - len(c.fields), c.index))
    for cls in heaviest:
        least = min(out, key=lambda g: g[0])
        least[0] += len(cls.messages) + len(cls.fields) + 5
        least[1].append(cls)
    return [sorted(g[1], key=lambda c: c.index) for g in out]


def emit_declarations(model: Model) -> str:
    out = [HEAD, "#pragma once\n// Internal to the generated tables.\n"
           '#include "idl/runtime/model.hpp"\n\nnamespace basalt::xenapi::tables {\n\n']
    for c in model.classes:
        if c.fields:
            out.append(f"extern const FieldInfo {array_name(c, 'fields')}[{len(c.fields)}];\n")
        if c.messages:
            out.append(f"extern const MessageInfo {array_name(c, 'messages')}[{len(c.messages)}];\n")
        out.append(f"extern const RecordOps {array_name(c, 'record')};\n")
    paired = [r for r in model.relations if r[2] != "plain"]
    out.append(f"extern const RelationInfo relations[{len(paired)}];\n")
    out.append("\n}  // namespace basalt::xenapi::tables\n")
    return "".join(out)


class Unit:
    """One generated source: constants shared within it are made once."""

    def __init__(self, model: Model, classes: list[Class]):
        self.model = model
        self.classes = classes
        self.shared: dict[str, str] = {}
        self.constants: list[str] = []
        # Places in tables::relations, which leaves plain ones out.
        paired = [i for i, r in enumerate(model.relations) if r[2] != "plain"]
        self.relation_place = {index: place for place, index in enumerate(paired)}

    def constant(self, type_: str, items: list[str]) -> str:
        if not items:
            return "{}"
        text = ", ".join(items)
        key = f"{type_}|{text}"
        if key not in self.shared:
            name = f"c{len(self.shared)}"
            self.shared[key] = name
            self.constants.append(f"constexpr {type_} {name}[] = {{{text}}};\n")
        return self.shared[key]

    def key_roles(self, roles: dict) -> str:
        return self.constant("KeyRole", [f"{{{quote(k)}, {v}}}" for k, v in roles.items()])

    def field(self, cls: Class, f) -> str:
        relation = "nullptr"
        if f.relation >= 0:
            relation = f"&relations[{self.relation_place[f.relation]}]"
        durability = "volatile_" if f.durability == "volatile" else f.durability
        return (
            f"    {{{quote(f.name)}, {quote(f.db_name)}, {quote(f.type_text)}, "
            f"&TypeOpsOf<{f.type.cpp}>::value, offsetof({cls.cpp}, {member(f.name)}), {cls.index}, "
            f"{f.index}, Qualifier::{QUALIFIERS[f.qualifier]}, {boolean(f.has_default)}, "
            f"{boolean(f.internal)}, {boolean(f.persist)}, {boolean(f.side_effect)}, "
            f"Durability::{durability}, RelationSide::{SIDES[f.side]}, {relation}, {f.get_mask}, "
            f"{f.set_mask}, {self.key_roles(f.key_roles)}, {life(f.life)}}},\n"
        )

    def params(self, cls: Class, m: Message) -> str:
        items = []
        for p in m.params:
            offset = f"offsetof({params_name(cls, m)}, {member(p.name)})" if m.thunk >= 0 else "0"
            items.append(f"{{{quote(p.name)}, {quote(p.type_text)}, &TypeOpsOf<{p.type.cpp}>::value, "
                         f"{offset}, {boolean(p.has_default)}}}")
        return self.constant("ParamInfo", items)

    def message(self, cls: Class, m: Message) -> str:
        result = "nullptr"
        if m.result_text and not m.kind.startswith("get_all_records"):
            result = f"&TypeOpsOf<{m.cpp_result}>::value"
        field = f"&{array_name(cls, 'fields')}[{m.field.index}]" if m.field else "nullptr"
        flags = ", ".join(boolean(f in m.flags)
                          for f in ("async", "hidden", "no_session", "pool_internal", "secret"))
        errors = self.constant("std::string_view", [quote(e) for e in m.errors])
        required = sum(not p.has_default for p in m.params)
        return (
            f"    {{{quote(cls.name + '.' + m.name)}, {quote(m.name)}, {cls.index}, "
            f"MessageKind::{m.kind}, Where::{m.where}, {m.mask}, {flags}, {m.thunk}, {required}, "
            f"{quote(m.forward)}, {self.params(cls, m)}, {result}, {quote(m.result_text or '')}, "
            f"{field}, {self.key_roles(m.key_roles)}, {errors}, {life(m.life)}}},\n"
        )

    def emit(self) -> str:
        body, includes = [], set()
        for cls in self.classes:
            includes |= {f'"idl/records/{cls.name.lower()}.hpp"', f'"idl/params/{cls.name.lower()}.hpp"'}
            if cls.fields:
                rows = "".join(self.field(cls, f) for f in cls.fields)
                body.append(f"constinit const FieldInfo {array_name(cls, 'fields')}"
                            f"[{len(cls.fields)}] = {{\n{rows}}};\n\n")
            if cls.messages:
                rows = "".join(self.message(cls, m) for m in cls.messages)
                body.append(f"constinit const MessageInfo {array_name(cls, 'messages')}"
                            f"[{len(cls.messages)}] = {{\n{rows}}};\n\n")
            body.append(f"constinit const RecordOps {array_name(cls, 'record')} = "
                        f"record_ops<{cls.cpp}>();\n\n")
        includes |= {'"idl/runtime/event_batch.hpp"', '"idl/runtime/record_ops.hpp"', '"idl/tables.hpp"'}
        return (
            HEAD + "".join(f"#include {i}\n" for i in sorted(includes))
            + "\nnamespace basalt::xenapi::tables {\n\nnamespace {\n\n" + "".join(self.constants)
            + "\n}  // namespace\n\n" + "".join(body) + "}  // namespace basalt::xenapi::tables\n"
        )


def emit_index(model: Model) -> str:
    rows, relation_rows = [], []
    for c in model.classes:
        fields = array_name(c, "fields") if c.fields else "{}"
        messages = array_name(c, "messages") if c.messages else "{}"
        durability = "volatile_" if c.durability == "volatile" else c.durability
        flags = ", ".join(boolean(x) for x in (
            c.persist, c.in_database, c.events, c.ctor_dtor, c.name not in model.no_task_classes))
        # The RecordOps are objects of other units: copied at start, so this table is not constexpr.
        rows.append(f"    {{{quote(c.name)}, {quote(c.name.lower())}, {c.index}, {flags}, "
                    f"Durability::{durability}, tables::{array_name(c, 'record')}, "
                    f"{'tables::' if c.fields else ''}{fields}, "
                    f"{'tables::' if c.messages else ''}{messages}, {life(c.life)}}},\n")
    for stored, mirror, kind in model.relations:
        if kind == "plain":
            continue
        ends = []
        for path in (stored, mirror):
            cls = model.by_name(path.split(".")[0])
            index = next(f.index for f in cls.fields if f.name == path.split(".")[1])
            ends.append(f"&{array_name(cls, 'fields')}[{index}]")
        relation_rows.append(f"    {{{ends[0]}, {ends[1]}, RelationKind::{KINDS[kind]}}},\n")
    roles = ", ".join(quote(r) for r in model.chain)
    extra = "".join(f"    {{{quote(k)}, {v}}},\n" for k, v in model.extra_permissions.items())
    return (
        f'{HEAD}#include <array>\n\n#include "idl/tables.hpp"\n#include "idl/versions.hpp"\n\n'
        "namespace basalt::xenapi {\n\nnamespace tables {\n\n"
        f"constinit const RelationInfo relations[{len(relation_rows)}] = {{\n{''.join(relation_rows)}}};\n\n"
        "}  // namespace tables\n\nstd::span<const ClassInfo> classes() {\n"
        f"    static const std::array<ClassInfo, {len(rows)}> all{{{{\n{''.join(rows)}}}}};\n"
        "    return all;\n}\n\n"
        "std::span<const RelationInfo> relations() { return tables::relations; }\n\n"
        "std::span<const std::string_view> role_names() {\n"
        f"    static constexpr std::array<std::string_view, {len(model.chain)}> names{{{roles}}};\n"
        "    return names;\n}\n\n"
        "std::span<const Permission> extra_permissions() {\n"
        f"    static constexpr Permission all[] = {{\n{extra}}};\n    return all;\n}}\n\n"
        "}  // namespace basalt::xenapi\n"
    )


def emit_versions(model: Model) -> str:
    major, minor = model.api_version.split(".")
    schema_major, schema_minor = model.db_schema.split(".")
    rows = "".join(
        f"    {{{quote(r.get('code', ''))}, {quote(r['api'])}, {quote(r['product'])}}},\n"
        for r in model.releases)
    return (
        f"{HEAD}#pragma once\n#include <string_view>\n\nnamespace basalt::xenapi {{\n\n"
        f"inline constexpr int api_version_major = {major};\n"
        f"inline constexpr int api_version_minor = {minor};\n"
        f"inline constexpr int db_schema_major = {schema_major};\n"
        f"inline constexpr int db_schema_minor = {schema_minor};\n\n"
        "struct Release {\n    std::string_view code;\n    std::string_view api;\n"
        "    std::string_view product;\n};\n\n"
        f"inline constexpr Release releases[] = {{\n{rows}}};\n\n}}  // namespace basalt::xenapi\n"
    )


def all_types(model: Model) -> list[tuple[str, set[str]]]:
    """The C++ types that the tables point to, with their parts, and the records in each; sorted."""
    found: dict[str, object] = {}

    def add(type_) -> None:
        if type_ is None or type_.cpp in found:
            return
        found[type_.cpp] = type_
        add(type_.key)
        add(type_.item)

    for cls in model.classes:
        for f in cls.fields:
            add(f.type)
        for m in cls.messages:
            if not m.kind.startswith("get_all_records") and not m.reply:
                add(m.result)
            for p in m.params:
                add(p.type)
    out = {cpp: type_.classes("record") for cpp, type_ in found.items()}
    for reply in {m.reply for c in model.classes for m in c.messages if m.reply} | {"WireEvent"}:
        out[reply] = set()
    return sorted(out.items())


def emit_type_units(model: Model, count: int) -> list[str]:
    types = all_types(model)
    # The few types that need record headers share a unit; the rest is dealt out evenly.
    with_records = [t for t in types if t[1]]
    plain = [t for t in types if not t[1]]
    units = []
    for part in range(count):
        chosen = plain[part - 1 :: count - 1] if part else with_records
        lines = "".join(f"template struct TypeOpsOf<{t}>;\n" for t, _ in chosen)
        records = {name for _, names in chosen for name in names}
        includes = "".join(f'#include "idl/records/{n.lower()}.hpp"\n' for n in sorted(records))
        units.append(f'{HEAD}#include "idl/enums.hpp"\n{includes}#include "idl/runtime/codec.hpp"\n\n'
                     f"namespace basalt::xenapi {{\n\n{lines}\n}}  // namespace basalt::xenapi\n")
    return units
