"""idl/surface.txt: the whole API, a line a field or message, so that a change is a readable diff."""

from model import Model


def roles(model: Model, mask: int) -> str:
    if mask == 0:
        return "local-root"
    names = [r for i, r in enumerate(model.chain) if mask >> i & 1]
    return names[-1] if mask == (2 << model.chain.index(names[-1])) - 1 else "+".join(names)


def key_roles(model: Model, keys: dict) -> str:
    return "".join(f" key:{k}={roles(model, v)}" for k, v in keys.items())


def emit(model: Model) -> str:
    out = []
    for c in model.classes:
        flags = [c.durability] + [name for name, on in (
            ("transient", not c.persist), ("no-database", not c.in_database),
            ("no-events", not c.events), ("constructor", c.ctor_dtor)) if on]
        out.append(f"class {c.name} [{c.life.history}] {' '.join(flags)}\n")
        for f in c.fields:
            extra = [name for name, on in (
                ("internal", f.internal), ("not-persisted", not f.persist),
                ("side-effect", f.side_effect), (f.side, f.side != "none")) if on]
            default = f" = {f.default!r}" if f.has_default else ""
            access = f" get:{roles(model, f.get_mask)}"
            access += f" set:{roles(model, f.set_mask)}" if f.qualifier == "RW" else ""
            out.append(f"{c.name}.{f.name}: {f.type_text}{default} {f.qualifier}{access}"
                       f"{key_roles(model, f.key_roles)}{''.join(' ' + e for e in extra)}"
                       f" [{f.life.history}]\n")
        for m in c.messages:
            params = ", ".join(f"{p.name}: {p.type_text}"
                               + (f" = {p.default!r}" if p.has_default else "") for p in m.params)
            where = "" if m.where == "coordinator" else f" where:{m.where}"
            errors = f" errors:{','.join(m.errors)}" if m.errors else ""
            out.append(f"{c.name}.{m.name}({params}) -> {m.result_text or 'void'} {m.kind} "
                       f"{roles(model, m.mask)}{key_roles(model, m.key_roles)}"
                       f"{''.join(' ' + f for f in sorted(m.flags))}{where}{errors}"
                       f" [{m.life.history}]\n")
    for name, values in model.enums.items():
        out.append(f"enum {name}: {', '.join(values)}\n")
    for code, names in model.errors.items():
        out.append(f"error {code}({'?' if names is None else ', '.join(names)})\n")
    return "".join(out)
