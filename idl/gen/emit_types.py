"""Headers: forward declarations, enumerations, records, params; and the errors."""

from model import Class, Model, params_name
from names import camel, identifier, member, quote
from wire_types import Type

HEAD = "// Generated from idl/*.toml by idl/gen. Do not edit.\n"


def header(includes: list[str], body: str, namespace: str = "basalt::xenapi") -> str:
    lines = "".join(f"#include {i}\n" for i in includes)
    return f"{HEAD}#pragma once\n{lines}\nnamespace {namespace} {{\n\n{body}\n}}  // namespace {namespace}\n"


def emit_classes(model: Model) -> str:
    out = [f"struct {c.cpp};\n" for c in model.classes]
    out.append(f"\ninline constexpr std::size_t class_count = {len(model.classes)};\n\n")
    for c in model.classes:
        out.append(
            f"template <>\nstruct ClassTraits<{c.cpp}> {{\n"
            f"    static constexpr std::uint16_t index = {c.index};\n"
            f"    static constexpr std::string_view name = {quote(c.name)};\n}};\n\n"
        )
    return header(["<cstddef>", "<cstdint>", "<string_view>", '"idl/runtime/ref.hpp"'], "".join(out))


def enumerators(values: list[str]) -> list[str]:
    names = [identifier(v) for v in values]
    assert len(set(names)) == len(names), values
    return names


def emit_enums(model: Model) -> str:
    out = []
    for name, values in model.enums.items():
        cpp, names = camel(name), ", ".join(enumerators(values))
        texts = ", ".join(quote(v) for v in values)
        exact = "true" if name in model.exact_enums else "false"
        out.append(
            f"enum class {cpp} : std::uint8_t {{ {names} }};\n\n"
            f"template <>\nstruct EnumTraits<{cpp}> {{\n"
            f"    static constexpr std::string_view name = {quote(name)};\n"
            f"    static constexpr bool exact_case = {exact};\n"
            f"    static constexpr std::array<std::string_view, {len(values)}> texts{{{texts}}};\n"
            f"}};\n\n"
        )
    return header(["<array>", "<cstdint>", "<string_view>", '"idl/runtime/enum_text.hpp"'],
                  "".join(out))


def initialiser(model: Model, type_: Type, value) -> str:
    """The C++ text of a default; "" when value-initialisation says the same."""
    match type_.kind:
        case "string":
            return quote(value) if value else ""
        case "int" | "float" | "bool":
            return str(value).lower() if value else ""
        case "enum":
            values = model.enums[type_.name]
            if value not in values:
                raise ValueError(f"{value!r} is no value of enum {type_.name}: {values}")
            chosen = values.index(value)
            return f"{camel(type_.name)}::{enumerators(values)[chosen]}"
        case "set":
            return ", ".join(initialiser(model, type_.item, v) or "{}" for v in value)
        case "map":
            return ", ".join(
                f"{{{initialiser(model, type_.key, k) or '{}'}, "
                f"{initialiser(model, type_.item, v) or '{}'}}}" for k, v in value.items())
        case "ref":
            if value in ("", "OpaqueRef:NULL"):
                return ""
            return f"{type_.cpp}::parse({quote(value)})"
        case "datetime":
            if value != "19700101T00:00:00Z":
                raise ValueError(f"default of a datetime: {value}")
            return ""
    raise ValueError(f"no default possible for {type_.kind}: {value!r}")


def declaration(model: Model, name: str, type_: Type, has_default: bool, value) -> str:
    text = initialiser(model, type_, value) if has_default else ""
    return f"    {type_.cpp} {member(name)}{{{text}}};\n"


def type_includes(types: list[Type], own: str = "") -> list[str]:
    found = {'"idl/classes.hpp"', '"idl/enums.hpp"', '"idl/runtime/datetime.hpp"',
             '"idl/runtime/map.hpp"', '"idl/runtime/secret_string.hpp"'}
    for t in types:
        found |= {f'"idl/records/{name.lower()}.hpp"' for name in t.classes("record")}
        if t.classes("enum") or t.kind == "any_record":
            found.add('"idl/runtime/any_record.hpp"')
    found.discard(own)
    return ["<cstdint>", "<optional>", "<string>", "<vector>"] + sorted(found)


def emit_record(model: Model, cls: Class) -> str:
    body = f"/// The record of class {cls.name}, fields in wire order.\nstruct {cls.cpp} {{\n"
    body += "".join(declaration(model, f.name, f.type, f.has_default, f.default)
                    for f in cls.fields)
    body += f"\n    friend bool operator==(const {cls.cpp}&, const {cls.cpp}&) = default;\n}};\n"
    own = f'"idl/records/{cls.name.lower()}.hpp"'
    return header(type_includes([f.type for f in cls.fields], own), body)


def emit_all_records(model: Model) -> str:
    return HEAD + "#pragma once\n" + "".join(
        f'#include "idl/records/{c.name.lower()}.hpp"\n' for c in model.classes)


def emit_params(model: Model, cls: Class) -> str:
    out, types = [], []
    for m in cls.served:
        if not m.params:
            continue
        out.append(f"/// {cls.name}.{m.name}\nstruct {params_name(cls, m)} {{\n")
        out += [declaration(model, p.name, p.type, p.has_default, p.default) for p in m.params]
        out.append("};\n\n")
        types += [p.type for p in m.params]
    return header(type_includes(types), "".join(out))


def error_params(names: list[str]) -> list[tuple[str, bool]]:
    """(C++ name, repeated) of each parameter; clashes get a number."""
    out = []
    for name in names:
        cpp = identifier(name.removesuffix("...").removesuffix("?"))
        while any(cpp == other for other, _ in out):
            cpp += "_2"
        out.append((cpp, name.endswith("...")))
    return out


def emit_errors_header(model: Model) -> str:
    out = ["using P = ErrorParam;\n\n"]
    for code, names in model.errors.items():
        params = ", ".join(f"std::vector<P> {n}" if many else f"P {n}"
                           for n, many in error_params(names or []))
        out.append(f"[[nodiscard]] ApiError {identifier(code)}({params});\n")
    out.append(
        "\n/// INTERNAL_ERROR with several parameters.\n"
        "[[nodiscard]] ApiError internal_error_of(std::vector<std::string> params);\n"
        "/// SR_BACKEND_FAILURE_<number>, as storage drivers raise it.\n"
        "[[nodiscard]] ApiError sr_backend_failure_number(int number, P stdout_text, P stderr_text);\n"
        "\nstruct ErrorInfo {\n    std::string_view code;\n"
        "    std::span<const std::string_view> params;\n"
        "    bool seen;  ///< false: nobody knows its parameters\n};\n\n"
        "/// Every code, sorted.\n[[nodiscard]] std::span<const ErrorInfo> errors();\n"
        "/// Null: not a code of the API.\n"
        "[[nodiscard]] const ErrorInfo* find_error(std::string_view code);\n"
    )
    return header(["<span>", "<string>", "<string_view>", "<vector>", '"base/error.hpp"',
                   '"idl/runtime/error_param.hpp"'], "".join(out), "basalt::err")


def emit_errors_source(model: Model) -> str:
    out = [HEAD, '#include "idl/errors.hpp"\n\n#include <algorithm>\n#include <array>\n'
           "#include <utility>\n\nnamespace basalt::err {\n\nnamespace {\n\n"
           "template <class... Ps>\nApiError make(const char* code, Ps... params) {\n"
           "    std::vector<std::string> texts;\n    texts.reserve(sizeof...(params));\n"
           "    (texts.push_back(std::move(params).take()), ...);\n"
           "    return {code, std::move(texts)};\n}\n\n"
           "ApiError make_many(const char* code, std::vector<P> params) {\n"
           "    std::vector<std::string> texts;\n"
           "    for (P& param : params) texts.push_back(std::move(param).take());\n"
           "    return {code, std::move(texts)};\n}\n\n"]
    table = []
    for code, names in model.errors.items():
        if names:
            texts = ", ".join(quote(n) for n in names)
            out.append(f"constexpr std::array<std::string_view, {len(names)}> "
                       f"params_{code.lower()}{{{texts}}};\n")
        spans = f"params_{code.lower()}" if names else "{}"
        table.append(f"    {{{quote(code)}, {spans}, {str(names is not None).lower()}}},\n")
    out.append(f"\nconstexpr std::array<ErrorInfo, {len(table)}> table{{{{\n{''.join(table)}}}}};\n"
               "\n}  // namespace\n\n")
    for code, names in model.errors.items():
        params = error_params(names or [])
        many = any(m for _, m in params)
        signature = ", ".join(f"std::vector<P> {n}" if m else f"P {n}" for n, m in params)
        values = "".join(f", std::move({n})" for n, _ in params)
        out.append(f"ApiError {identifier(code)}({signature}) {{\n"
                   f"    return {'make_many' if many else 'make'}({quote(code)}{values});\n}}\n\n")
    out.append(
        "ApiError internal_error_of(std::vector<std::string> params) {\n"
        '    return {"INTERNAL_ERROR", std::move(params)};\n}\n\n'
        "ApiError sr_backend_failure_number(int number, P stdout_text, P stderr_text) {\n"
        '    return {"SR_BACKEND_FAILURE_" + std::to_string(number),\n'
        '            {"", std::move(stdout_text).take(), std::move(stderr_text).take()}};\n}\n\n'
        "std::span<const ErrorInfo> errors() { return table; }\n\n"
        "const ErrorInfo* find_error(std::string_view code) {\n"
        "    const auto place = std::ranges::lower_bound(table, code, {}, &ErrorInfo::code);\n"
        "    return place != table.end() && place->code == code ? &*place : nullptr;\n}\n\n"
        "}  // namespace basalt::err\n")
    return "".join(out)
