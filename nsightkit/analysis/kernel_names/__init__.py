"""What a kernel's name says: the form common to all tools, library, family, number type, tile and a friendly name.

In: a name as nsys, ncu or torch printed it. Out: a `KernelName`; for two lists of names, which belong together.
The rules stand in kernel_libraries.toml and kernel_operations.toml and are printed in docs/kernel-names.md.
A name is too coarse a key for a launch (one GEMM name covers many shapes): joining launches needs grid and block too.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from string import ascii_letters, digits

from nsightkit.analysis.kernel_names.apart import apart_by_place, told_apart
from nsightkit.analysis.kernel_names.details import DTYPES, cpp_word, detail_words, dtype_of, known_details, tile_of
from nsightkit.analysis.kernel_names.form import normal_form, qualified_head, readable_mangled, spell
from nsightkit.analysis.kernel_names.rules import Groups, find_library, find_operation, rule_book

__all__ = [
    "DTYPES",
    "FAMILIES",
    "LIBRARIES",
    "NORMALIZER_VERSION",
    "UNCLASSIFIED",
    "KernelName",
    "NameMatch",
    "describe_kernel",
    "match_kernels",
    "tell_apart",
]

UNCLASSIFIED = "unclassified"
NORMALIZER_VERSION = rule_book().version
FAMILIES = tuple(rule_book().families)
LIBRARIES = tuple(dict.fromkeys(rule.name for rule in rule_book().libraries)) + tuple(rule_book().without_mark)

_READ_LENGTH = 4096  # what is beyond decides nothing, and the cost of a hostile name stays bounded
_FRIENDLY_LENGTH = 80
_OPEN_CAST = re.compile(r"(?<!\w)\($")
_WORD_CHARACTERS = ascii_letters + digits + "_:"
_PRETTY = {
    "mul": "Multiply", "multiplies": "Multiply", "div": "Divide", "divides": "Divide", "add": "Add", "plus": "Add",
    "sub": "Subtract", "minus": "Subtract", "silu": "SiLU", "gelu": "GELU", "elu": "ELU", "leaky_relu": "Leaky ReLU",
    "prelu": "PReLU", "fw_inf": "Inference", "fw_tr": "Forward", "fw": "Forward", "bw": "Backward", "mse": "MSE",
    "bce": "BCE", "kl_div": "KL divergence", "argmax": "ArgMax", "argmin": "ArgMin", "rsqrt": "RSqrt",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KernelName:
    """What one kernel's name says.

    `full` is the name as printed. `normal` is the form common to nsys, ncu and torch. `library` is one of LIBRARIES
    and `family` one of FAMILIES. `dtype` is the type of the first operand the name mentions, `tile` is rows x columns
    of a block's tile; both are None where the name does not say. `friendly` is what a reader sees.
    """

    full: str
    normal: str
    library: str
    family: str
    dtype: str | None
    tile: str | None
    friendly: str


@dataclass(frozen=True, slots=True)
class NameMatch:
    """Which names of another list can be the kernel `name`.

    `how` is the form in which they agree: full, normal, prefix, head or none. `rivals` are the other names of the
    first list that reach the same candidates.
    """

    name: str
    candidates: tuple[str, ...]
    how: str
    rivals: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """`matched` (one candidate, and nobody else claims it), `ambiguous` or `none`."""
        if not self.candidates:
            return "none"
        return "matched" if len(self.candidates) == 1 and not self.rivals else "ambiguous"


@lru_cache(maxsize=65536)
def describe_kernel(name: str) -> KernelName:
    """Return what `name` says; never fails, whatever the text."""
    readable = readable_mangled(name)
    spelled = spell(readable)
    normal = normal_form(spelled)
    read, qualified = normal[:_READ_LENGTH], qualified_head(spelled)[:_READ_LENGTH]
    head = qualified_head(read)
    rule, groups = find_operation(read, head)
    mark = find_library(spelled[:_READ_LENGTH], qualified)
    family = rule.family if rule else UNCLASSIFIED
    library = mark or ("user" if rule else "unknown")
    dtype, tile = dtype_of(groups.get("type") or read, spelled[:_READ_LENGTH]), tile_of(read, family)
    shown = cpp_word(dtype) if library == "PyTorch ATen" else dtype
    known = known_details(read, groups, shown, tile)
    details = detail_words(rule.details if rule else ("dtype",), known)
    title = _title(rule.operation if rule else "{head}", head, groups)
    friendly = f"{title} ({', '.join(details)})" if details else title
    kept_normal = normal if readable == name else name  # a mangled name is only comparable as it is
    return KernelName(name, kept_normal, library, family, dtype, tile, friendly)


def tell_apart(names: Sequence[str], beside: Sequence[Sequence[str]] = ()) -> list[str]:
    """Return a friendly name for each of `names`, so that rows that differ do not look alike.

    Names with the same friendly name get what differs between them: the tile, else the words of the normal form that
    differ, else those of the full name.

    Args:
        names: full names of the kernels in one listing.
        beside: for each name what else tells its row apart, as words in order of preference ("grid 8×8×1"); used
            where names are equal.
    """
    described = [describe_kernel(name) for name in names]
    labels = told_apart([(kernel.friendly, kernel.full, kernel.normal, kernel.tile) for kernel in described])
    return labels if not beside else apart_by_place(labels, beside)


def match_kernels(names_a: Iterable[str], names_b: Iterable[str]) -> list[NameMatch]:
    """Say for each distinct name of `names_a` which names of `names_b` can be the same kernel.

    The first form in which any agrees decides: the full name, the normal form, the beginning (of a name that a printed
    table cut short with an ellipsis), the bare function name (where one side has nothing more).
    """
    others = [describe_kernel(name) for name in dict.fromkeys(names_b)]
    finder = _Finder(others)
    found = [finder.find(describe_kernel(name)) for name in dict.fromkeys(names_a)]
    claims: dict[str, list[str]] = {}
    for match in found:
        if match.how != "full":
            for candidate in match.candidates:
                claims.setdefault(candidate, []).append(match.name)
    return [_with_rivals(match, claims) for match in found]


def _with_rivals(match: NameMatch, claims: dict[str, list[str]]) -> NameMatch:
    """Add the other names that reach the same candidates by something weaker than the full name."""
    if match.how == "full":
        return match
    claimants = dict.fromkeys(name for candidate in match.candidates for name in claims[candidate])
    return replace(match, rivals=tuple(name for name in claimants if name != match.name))


class _Finder:
    """Looks names up in one list, by every form."""

    def __init__(self, others: list[KernelName]) -> None:
        self._others = others
        self._cut = [other for other in others if _is_cut(other)]
        self._full = {other.full for other in others}
        self._normal: dict[str, list[str]] = {}
        self._head: dict[str, list[KernelName]] = {}
        for other in others:
            self._normal.setdefault(other.normal, []).append(other.full)
            self._head.setdefault(qualified_head(other.normal), []).append(other)

    def find(self, name: KernelName) -> NameMatch:
        """Return the candidates of `name`, without rivals."""
        if name.full in self._full:
            return NameMatch(name.full, (name.full,), "full")
        candidates = self._normal.get(name.normal)
        if candidates:
            return NameMatch(name.full, tuple(candidates), "normal")
        cut = self._of_cut_names(name)
        if cut:
            return NameMatch(name.full, cut, "prefix")
        head = qualified_head(name.normal)
        namesakes = self._head.get(head, [])
        bare = tuple(other.full for other in namesakes if head in (name.normal, other.normal))
        return NameMatch(name.full, bare, "head" if bare else "none")

    def _of_cut_names(self, name: KernelName) -> tuple[str, ...]:
        """Return the names that begin as `name` does where it is cut short, or else those cut names it begins as."""
        for whole_words in (True, False):
            longer = self._others if _is_cut(name) else []
            found = [other.full for other in longer if _begins(name, other, whole_words)]
            found = found or [other.full for other in self._cut if _begins(other, name, whole_words)]
            if found:
                return tuple(found)
        return ()


def _is_cut(name: KernelName) -> bool:
    """Whether a printed table cut `name` short."""
    return name.normal.endswith(("…", "..."))


def _begins(short: KernelName, long: KernelName, whole_words: bool) -> bool:
    """Whether `long` begins as the cut name `short` does; unless `whole_words`, without what may be half a word."""
    beginning = short.normal.removesuffix("…").removesuffix("...")
    template, parameters, _ = beginning.partition(">(")  # a normal form holds only parameters that never close
    if parameters:
        beginning = template + ">"
    elif not whole_words:
        # The last word may be half a namespace; a bracket after a blank or comma is half a cast.
        beginning = _OPEN_CAST.sub("", beginning.rstrip(_WORD_CHARACTERS + " "))
    return bool(beginning) and long.normal.startswith(beginning)


def _title(operation: str, head: str, groups: Groups) -> str:
    """Fill the operation's {…} and make the text fit for one line of a table."""
    word = groups.get("op") or groups.get("op2") or ""
    back = " Backward" if groups.get("backward") else ""
    title = operation.format(head=head, op=_pretty(word), log=groups.get("log") or "", backward=back)
    title = " ".join("".join(char if char.isprintable() else " " for char in title).split())
    if len(title) > _FRIENDLY_LENGTH:
        title = title[: _FRIENDLY_LENGTH - 1] + "…"
    return title or "(no name)"


def _pretty(word: str) -> str:
    """`mul` is Multiply, `pow_tensor` is Pow Tensor; what has capitals stays as it is."""
    known = _PRETTY.get(word.lower())
    if known or not word.islower():
        return known or word.replace("_", " ")
    return word.replace("_", " ").title()
