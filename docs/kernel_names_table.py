"""Makes kernel-names.md from the rules for kernel names.

In: the rule files of `nsightkit.analysis`. Out: Markdown, by `kernel_names_page()`; docs/generate.py writes it.
"""

from nsightkit.analysis.kernel_names import DTYPES, NORMALIZER_VERSION, describe_kernel
from nsightkit.analysis.kernel_names.details import CPP_TYPES, NAME_MARKS
from nsightkit.analysis.kernel_names.rules import LibraryRule, OperationRule, rule_book

NOTICE = "<!-- Made by docs/generate.py (make docs). Change the rules, not this page. -->\n"
_LONGEST_EXAMPLE = 140

_METHOD = """\
`nsightkit.analysis.kernel_names.describe_kernel(name)` says what a kernel's name says, and nothing more. The full name
is always kept. Version {version} of the rules made this page; the version is raised with every change that gives some
name another answer.

## The normal form

nsys, ncu and torch print one kernel differently. The normal form is what they have in common:

| printed | normal form |
|---|---|
| namespaces (`at::native::f`; ncu leaves them out) | `f` |
| `<unnamed>::f`, `unnamed>::f`, `(anonymous namespace)::f` | `f` |
| `(bool)0`, `false`, `0`; `(int)128`, `128`; `(unsigned long)2`, `2ul` | `0`; `128`; `2` |
| `[lambda(int) (instance 1)]`, `lambda(int) (instance 1)]`, `{{lambda(int)#1}}` | `lambda(int)#1` |
| return types: `void f<…>`, `std::enable_if<…>::type f<…>` | `f<…>` |
| the parameters of a template: `f<float>(T1)`, `f<float>(float)` | `f<float>` |
| `T1::Params`, `Params` | `Params` |
| `const T *`, `T const*`, `T *` | `T*` |
| `> >`, `char *`, a line break | `>>`, `char*`, one space at most |
| `f[v1,…]` (Numba's build tag) | `f` |

Two kernels that differ only in these have one normal form. `match_kernels` then says *ambiguous* and names them all; it
never picks one. A mangled name (`_Z…`) is its own normal form: there is no demangler here, but its identifiers are
enough to find its family.

A name is too coarse a key for a launch: GEMMs that differ only in K share it. Joining launches of two captures needs
grid, block and the place in the run as well.

## Library, family, type, tile

Library and family are two questions with two lists of rules, tried in order; the first rule that matches wins. Marks
of a library are read with namespaces. Operations are read from the normal form, so that one kernel has one family
whichever tool printed it; its library may be `user` where the tool left out the namespace that tells it. What no rule
recognizes is `unclassified`, and is shown as that.

`dtype` is the type of the first operand that the name mentions, not of the accumulator; integers count only where a
pointer, a functor or a lambda holds them. `tile` is rows x columns of a block's tile. Both are empty where the name
does not say. PyTorch's own kernels show C++ words (`float`) in the friendly name, others the short type (`FP32`).
A friendly name is for the reader: two kernels may share one.
"""


def kernel_names_page() -> str:
    """Return the whole page."""
    book = rule_book()
    parts = ["# Kernel names\n", NOTICE, _METHOD.format(version=NORMALIZER_VERSION), "## Families\n"]
    parts += _table(("family", "meaning"), [(name, meaning) for name, meaning in book.families.items()])
    parts += [
        "\n## Operations\n",
        "In the order in which they are tried. `words` are whole words of the function name.\n",
    ]
    parts += _table(("family", "recognized by", "example", "friendly name"), [_operation(r) for r in book.operations])
    parts += ["\n## Libraries\n", "In the order in which they are tried.\n"]
    parts += _table(("library", "recognized by", "example"), [_library(r) for r in book.libraries])
    parts += ["\n", *_table(("without a mark", "meaning"), list(book.without_mark.items()))]
    parts += ["\n## Number types\n"]
    types = [(name, _code(CPP_TYPES.get(name, "")), _code(NAME_MARKS.get(name, ""))) for name in DTYPES]
    parts += _table(("dtype", "C++ type", "mark in a generated name"), types)
    return "\n".join(parts) + "\n"


def _operation(rule: OperationRule) -> tuple[str, ...]:
    by = _code(rule.pattern.pattern) if rule.pattern else "words: " + ", ".join(rule.words)
    return rule.family, f"{rule.where}: {by}", _example(rule.example), describe_kernel(rule.example).friendly


def _library(rule: LibraryRule) -> tuple[str, ...]:
    return rule.name, f"{rule.where}: {_code(rule.pattern.pattern)}", _example(rule.example)


def _example(name: str) -> str:
    return _code(name if len(name) <= _LONGEST_EXAMPLE else name[: _LONGEST_EXAMPLE - 1] + "…")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    # Markdown splits cells at every bar, inside code too.
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *body]
