"""How words of the wire become C++ names."""

import re

KEYWORDS = set(
    """alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class compl concept const consteval constexpr constinit const_cast continue co_await
    co_return co_yield decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
    nullptr operator or or_eq private protected public register reinterpret_cast requires return
    short signed sizeof static static_assert static_cast struct switch template this thread_local
    throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while
    xor xor_eq linux unix assert""".split()
)


def camel(word: str) -> str:
    """`VM_guest_metrics` -> `VmGuestMetrics`, `host_cpu` -> `HostCpu`."""
    parts = [p for p in word.split("_") if p]
    return "".join(p.capitalize() if p.isupper() else p[0].upper() + p[1:] for p in parts)


def member(word: str) -> str:
    """A wire name as a C++ member: itself, unless C++ keeps the word for itself."""
    return word + "_" if word in KEYWORDS else word


def identifier(text: str) -> str:
    """Any wire text as a lower-case identifier: enumerators, error functions and parameters."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    if not name or name[0].isdigit():
        name = "_" + name if name else "empty"
        name = "n" + name
    return member(name)


def quote(text: str) -> str:
    """A C++ string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
