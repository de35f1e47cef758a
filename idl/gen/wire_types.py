"""The type grammar of the data model and its C++ spelling."""

from dataclasses import dataclass

from names import camel

PRIMITIVES = {
    "string": "std::string",
    "secretstring": "SecretString",
    "int": "std::int64_t",
    "float": "double",
    "bool": "bool",
    "datetime": "DateTime",
}


@dataclass(frozen=True)
class Type:
    kind: str  # a primitive, or enum, ref, record, any_record, set, option, map
    name: str = ""  # of the class or the enumeration
    key: "Type | None" = None
    item: "Type | None" = None

    @property
    def cpp(self) -> str:
        match self.kind:
            case "enum":
                return camel(self.name)
            case "ref":
                return f"Ref<{camel(self.name)}>"
            case "record":
                return camel(self.name)
            case "any_record":
                return "AnyRecord"
            case "set":
                return f"std::vector<{self.item.cpp}>"
            case "option":
                return f"std::optional<{self.item.cpp}>"
            case "map":
                return f"Map<{self.key.cpp}, {self.item.cpp}>"
        return PRIMITIVES[self.kind]

    def classes(self, kind: str) -> set[str]:
        """Names of the classes used as `kind` (ref or record) anywhere in the type."""
        found = {self.name} if self.kind == kind else set()
        for part in (self.key, self.item):
            if part:
                found |= part.classes(kind)
        return found


def parse(text: str) -> Type:
    text = text.strip()
    if text in PRIMITIVES:
        return Type(text)
    if text == "<class> record option":
        return Type("any_record")
    if text.endswith(" map"):
        inner = text[: -len(" map")].strip()
        if not (inner.startswith("(") and inner.endswith(")")):
            raise ValueError(f"a map is written (key -> value) map, not {text}")
        key, value = inner[1:-1].split(" -> ", 1)
        return Type("map", key=parse(key), item=parse(value))
    for suffix, kind in ((" set", "set"), (" option", "option")):
        if text.endswith(suffix):
            return Type(kind, item=parse(text[: -len(suffix)]))
    for suffix, kind in ((" ref", "ref"), (" record", "record")):
        if text.endswith(suffix):
            return Type(kind, name=text[: -len(suffix)])
    if text.startswith("enum "):
        return Type("enum", name=text[5:])
    raise ValueError(f"unknown type: {text}")
