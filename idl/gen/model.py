"""Reads the TOML files, checks them, and derives what nobody should type: the implicit messages."""

import pathlib
import tomllib
from dataclasses import dataclass
from dataclasses import field as slot

import wire_types
import words
from names import camel
from wire_types import Type

STATES = ("prototyped", "published", "deprecated", "removed")
QUALIFIERS = ("RW", "StaticRO", "DynamicRO")

CLASS_KEYS = set(
    "name life durability persist in_database events create_role read_role get_all "
    "get_by_name_label fields messages words".split()
)
FIELD_KEYS = set(
    "name type q default db get_role set_role set_roles key_roles internal persist side_effect "
    "relation life durability".split()
)
MESSAGE_KEYS = set(
    "name params result reply role roles key_roles async hidden pool_internal secret no_session "
    "forward where errors life".split()
)


class ModelError(Exception):
    pass


@dataclass(frozen=True)
class Life:
    history: str  # "rio deprecated:george"; a first word without a change is "published"

    @property
    def events(self) -> list[tuple[str, str]]:
        words = self.history.split()
        return [tuple(w.split(":", 1)) if ":" in w else ("published", w) for w in words]

    @property
    def state(self) -> str:
        return [change for change, _ in self.events if change in STATES][-1]


@dataclass
class Field:
    name: str
    type_text: str
    type: Type
    qualifier: str
    life: Life
    db_name: str
    default: object = None
    has_default: bool = False
    get_mask: int = 0
    set_mask: int = 0
    key_roles: dict = slot(default_factory=dict)
    internal: bool = False
    persist: bool = True
    side_effect: bool = False
    durability: str = "durable"
    index: int = 0
    relation: int = -1
    side: str = "none"
    doc: str = ""


@dataclass
class Param:
    name: str
    type_text: str
    type: Type
    default: object = None
    has_default: bool = False
    doc: str = ""


@dataclass
class Message:
    name: str
    kind: str
    params: list[Param]
    result_text: str | None
    mask: int
    life: Life
    field: Field | None = None
    key_roles: dict = slot(default_factory=dict)
    errors: list[str] = slot(default_factory=list)
    flags: set = slot(default_factory=set)  # async hidden pool_internal secret no_session
    forward: str = ""
    where: str = "coordinator"
    reply: str = ""  # C++ type of the answer where the wire differs from the declared type
    doc: str = ""
    thunk: int = -1

    @property
    def result(self) -> Type | None:
        return wire_types.parse(self.result_text) if self.result_text else None

    @property
    def cpp_result(self) -> str:
        return self.reply or (self.result.cpp if self.result else "void")

    @property
    def served_by_domain(self) -> bool:
        """Has a virtual function: everything but the plain reads and writes of a row."""
        return self.kind in ("custom", "create", "destroy") or (
            self.kind in ("set", "add", "remove") and self.field.side_effect
        )


@dataclass
class Class:
    name: str
    life: Life
    durability: str
    persist: bool
    in_database: bool
    events: bool
    ctor_dtor: bool
    fields: list[Field]
    messages: list[Message]
    index: int = 0
    doc: str = ""

    @property
    def cpp(self) -> str:
        return camel(self.name)

    @property
    def served(self) -> list[Message]:
        return [m for m in self.messages if m.served_by_domain]


@dataclass
class Model:
    classes: list[Class]
    enums: dict[str, list[str]]
    exact_enums: set[str]
    errors: dict[str, list[str] | None]
    chain: list[str]
    extra_permissions: dict[str, int]
    no_task_classes: set[str]
    relations: list[tuple[str, str, str]]
    api_version: str
    db_schema: str
    releases: list[dict]
    enum_docs: dict[str, dict[str, str]]  # enumeration -> value -> words
    role_docs: dict[str, str]
    error_docs: dict[str, str]

    def by_name(self, name: str) -> Class:
        return next(c for c in self.classes if c.name == name)


def check_keys(row: dict, allowed: set, where: str) -> None:
    unknown = set(row) - allowed
    if unknown:
        raise ModelError(f"{where}: unknown keys {sorted(unknown)}")


class Loader:
    def __init__(self, root: pathlib.Path):
        self.root = root
        roles = self.read("roles.toml")
        self.chain = roles["chain"]
        self.roles = roles
        self.common_words = self.read("words.toml")["fields"]

    def read(self, name: str) -> dict:
        with open(self.root / name, "rb") as file:
            return tomllib.load(file)

    def mask(self, role: str) -> int:
        """Bit per role; a role's callers are itself and all to its left in the chain."""
        return 0 if role == "local-root" else (2 << self.chain.index(role)) - 1

    def mask_of_list(self, roles: list[str]) -> int:
        return sum(1 << self.chain.index(role) for role in roles)

    def field(self, row: dict, life: Life, durability: str, where: str) -> Field:
        check_keys(row, FIELD_KEYS, where)
        if row["q"] not in QUALIFIERS:
            raise ModelError(f"{where}: qualifier {row['q']}")
        set_mask = self.mask(row["set_role"]) if "set_role" in row else 0
        if "set_roles" in row:
            set_mask = self.mask_of_list(row["set_roles"])
        return Field(
            name=row["name"],
            type_text=row["type"],
            type=wire_types.parse(row["type"]),
            qualifier=row["q"],
            life=Life(row["life"]) if "life" in row else life,
            db_name=row.get("db", row["name"]),
            default=row.get("default"),
            has_default="default" in row,
            get_mask=self.mask(row.get("get_role", "read-only")),
            set_mask=set_mask,
            key_roles={k: self.mask(v) for k, v in row.get("key_roles", {}).items()},
            internal=row.get("internal", False),
            persist=row.get("persist", True),
            side_effect=row.get("side_effect", False),
            durability=row.get("durability", durability),
        )

    def message(self, row: dict, life: Life, where: str) -> Message:
        check_keys(row, MESSAGE_KEYS, where)
        params = []
        for name, type_text, *extra in row.get("params", []):
            extra = extra[0] if extra else {}
            params.append(
                Param(name, type_text, wire_types.parse(type_text), extra.get("default"),
                      "default" in extra)
            )
        mask = self.mask_of_list(row["roles"]) if "roles" in row else self.mask(row["role"])
        return Message(
            name=row["name"],
            kind="custom",
            params=params,
            result_text=row.get("result"),
            mask=mask,
            life=Life(row["life"]) if "life" in row else life,
            key_roles={k: self.mask(v) for k, v in row.get("key_roles", {}).items()},
            errors=row.get("errors", []),
            flags={f for f in ("async", "hidden", "pool_internal", "secret", "no_session")
                   if row.get(f)},
            forward=row.get("forward", ""),
            where=row.get("where", "coordinator"),
            reply=row.get("reply", ""),
        )

    def load_class(self, path: pathlib.Path) -> Class:
        row = self.read(path.relative_to(self.root))
        check_keys(row, CLASS_KEYS, path.name)
        life = Life(row["life"])
        durability = row["durability"]
        cls = Class(
            name=row["name"],
            life=life,
            durability=durability,
            persist=row.get("persist", True),
            in_database=row.get("in_database", True),
            events=row.get("events", True),
            ctor_dtor="create_role" in row,
            fields=[self.field(f, life, durability, f"{path.name}: {f.get('name')}")
                    for f in row.get("fields", [])],
            messages=[self.message(m, life, f"{path.name}: {m.get('name')}")
                      for m in row.get("messages", [])],
        )
        for index, each in enumerate(cls.fields):
            each.index = index
        if cls.in_database and cls.name != "message":
            self.add_implicit(cls, row)
        words.give(cls, row.get("words", {}), self.common_words, path.name)
        return cls

    def add_implicit(self, cls: Class, row: dict) -> None:
        taken = {m.name for m in cls.messages}
        implicit = [m for m in self.implicit(cls, row) if m.name not in taken]
        cls.messages += sorted(implicit, key=lambda m: m.name)

    def implicit(self, cls: Class, row: dict):
        """Every message that follows from a field or a flag of the class."""
        ref, reads = f"{cls.name} ref", self.mask(row.get("read_role", "read-only"))

        def make(name, kind, params, result, mask, flags=(), source=None):
            return Message(
                name=name, kind=kind, result_text=result, mask=mask, field=source,
                params=[Param(n, t, wire_types.parse(t)) for n, t in params],
                life=source.life if source else cls.life, flags=set(flags),
                key_roles=source.key_roles if source and kind in ("add", "remove") else {},
            )

        yield make("get_record", "get_record", [("self", ref)], f"{cls.name} record", reads)
        yield make("get_by_uuid", "get_by_uuid", [("uuid", "string")], ref, reads)
        if row.get("get_all", True):
            records = f"({ref} -> {cls.name} record) map"
            yield make("get_all", "get_all", [], f"{ref} set", reads)
            yield make("get_all_records", "get_all_records", [], records, reads)
            where = [("expr", "string")]
            yield make("get_all_where", "get_all_where", where, f"{ref} set", reads, ["hidden"])
            yield make("get_all_records_where", "get_all_records_where", where, records, reads,
                       ["hidden"])
        has_label = any(f.name == "name_label" for f in cls.fields)
        if has_label and row.get("get_by_name_label", True):
            yield make("get_by_name_label", "get_by_name_label", [("label", "string")],
                       f"{ref} set", reads)
        if cls.ctor_dtor:
            mask = self.mask(row["create_role"])
            yield make("create", "create", [("args", f"{cls.name} record")], ref, mask, ["async"])
            yield make("destroy", "destroy", [("self", ref)], None, mask, ["async"])
        for each in cls.fields:
            if not each.internal:
                yield from self.accessors(each, ref, make)

    @staticmethod
    def accessors(each: Field, ref: str, make):
        me, name = ("self", ref), each.name
        yield make(f"get_{name}", "get", [me], each.type_text, each.get_mask, source=each)
        if each.qualifier != "RW":
            return
        yield make(f"set_{name}", "set", [me, ("value", each.type_text)], None, each.set_mask,
                   source=each)
        if each.type.kind == "map":
            pair = each.type_text[1:-len(") map")].split(" -> ", 1)
            yield make(f"add_to_{name}", "add", [me, ("key", pair[0]), ("value", pair[1])], None,
                       each.set_mask, source=each)
            yield make(f"remove_from_{name}", "remove", [me, ("key", pair[0])], None,
                       each.set_mask, source=each)
        elif each.type.kind == "set":
            item = each.type_text[: -len(" set")]
            yield make(f"add_{name}", "add", [me, ("value", item)], None, each.set_mask,
                       source=each)
            yield make(f"remove_{name}", "remove", [me, ("value", item)], None, each.set_mask,
                       source=each)


def load(root: pathlib.Path) -> Model:
    loader = Loader(root)
    classes = [loader.load_class(p) for p in (root / "classes").glob("*.toml")]
    classes.sort(key=lambda c: c.name.lower())
    thunk = 0
    for index, cls in enumerate(classes):
        cls.index = index
        for message in cls.served:
            message.thunk = thunk
            thunk += 1
    enums, errors, releases = (loader.read(f"{n}.toml") for n in ("enums", "errors", "releases"))
    codes = dict(errors["errors"]) | {code: None for code in errors["unseen"]["codes"]}
    model = Model(
        classes=classes,
        enums=enums["enums"],
        exact_enums=set(enums["exact_case"]),
        errors=dict(sorted(codes.items())),
        chain=loader.chain,
        extra_permissions={name: loader.mask_of_list(roles)
                           for name, roles in loader.roles["extra_permissions"].items()},
        no_task_classes=set(loader.roles["no_task_classes"]),
        relations=[tuple(r) for r in loader.read("relations.toml")["relations"]],
        api_version=releases["api_version"],
        db_schema=releases["db_schema"],
        releases=releases["releases"],
        enum_docs=words.of_values(enums["enums"], enums.get("words", {}), "enums.toml"),
        role_docs=words.of_values({"roles": loader.chain}, {"roles": loader.roles.get("words", {})},
                                  "roles.toml")["roles"],
        error_docs=words.of_values({"errors": codes}, {"errors": errors.get("words", {})},
                                   "errors.toml")["errors"],
    )
    join_relations(model)
    join_raises(model, loader.read("raises.toml")["raises"])
    check(model)
    return model


def find_field(model: Model, path: str) -> Field:
    cls, name = path.split(".")
    return next(f for f in model.by_name(cls).fields if f.name == name)


def join_relations(model: Model) -> None:
    for index, (one, many, kind) in enumerate(model.relations):
        if kind == "plain":
            continue
        for path, side in ((one, "stored"), (many, "mirror")):
            each = find_field(model, path)
            if each.side != "none":
                raise ModelError(f"{path} is in two relations")
            each.relation, each.side = index, "both" if kind == "many-to-many" else side


def join_raises(model: Model, groups: list[dict]) -> None:
    """Adds the errors of raises.toml to those that the messages declare themselves."""
    messages = {f"{cls.name}.{m.name}": m for cls in model.classes for m in cls.messages}
    for group in groups:
        check_keys(group, {"messages", "errors"}, "raises.toml")
        for name in group["messages"]:
            if name not in messages:
                raise ModelError(f"raises.toml: no message {name}")
            known = messages[name].errors
            messages[name].errors = known + [e for e in group["errors"] if e not in known]


def check(model: Model) -> None:
    classes = {c.name for c in model.classes}

    def known(type_: Type | None, where: str) -> None:
        if type_ is None:
            return
        for kind in ("ref", "record"):
            if not type_.classes(kind) <= classes:
                raise ModelError(f"{where}: no class {type_.classes(kind) - classes}")
        if not type_.classes("enum") <= set(model.enums):
            raise ModelError(f"{where}: no enum {type_.classes('enum') - set(model.enums)}")

    cpp_names = [camel(c) for c in classes] + [camel(e) for e in model.enums]
    for cls in model.classes:
        cpp_names += [params_name(cls, m) for m in cls.served if m.params]
        cpp_names += [cls.cpp + "Api"]
        for each in cls.fields:
            known(each.type, f"{cls.name}.{each.name}")
        for message in cls.messages:
            known(message.result, f"{cls.name}.{message.name}")
            for param in message.params:
                known(param.type, f"{cls.name}.{message.name}")
            for code in message.errors:
                if code not in model.errors:
                    raise ModelError(f"{cls.name}.{message.name}: no error {code}")
    twice = {n for n in cpp_names if cpp_names.count(n) > 1}
    if twice:
        raise ModelError(f"names that would clash in C++: {sorted(twice)}")


def params_name(cls: Class, message: Message) -> str:
    return cls.cpp + camel(message.name)
