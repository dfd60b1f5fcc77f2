"""The rules that tell a kernel's library and what it does, read from the two rule files beside this module.

In: kernel_libraries.toml and kernel_operations.toml. Out: the rules in their order, the closed lists, and which rule a
name reaches. The order is the meaning: the first rule that matches wins.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[A-Z]")
_LONGEST_PHRASE = 3  # words
_READ_WORDS = 24  # of a head; a longer one is no programmer's
Groups = dict[str, str | None]
# re keeps only the last 512 patterns, and a process that reads few names needs few of them.
_compiled = cache(re.compile)


@dataclass(frozen=True, slots=True)
class LibraryRule:
    """One library and the marks that tell it; one library may have several rules."""

    name: str
    where: str  # head or name
    expression: str
    example: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """The expression, compiled when a name first gets as far as this rule."""
        return _compiled(self.expression)


@dataclass(frozen=True, slots=True)
class OperationRule:
    """One kind of kernel, by a pattern or by words of its head, and how its friendly name is put together."""

    rank: int  # its place in the order
    family: str
    operation: str
    details: tuple[str, ...]
    where: str  # head or name
    expression: str | None
    words: tuple[str, ...]
    example: str

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """The expression, compiled when a name first gets as far as this rule."""
        return None if self.expression is None else _compiled(self.expression)


@dataclass(frozen=True, slots=True)
class RuleBook:
    """Everything in the rule files."""

    version: int
    families: dict[str, str]  # name -> meaning
    without_mark: dict[str, str]  # what stands for the library where no mark is found -> meaning
    libraries: tuple[LibraryRule, ...]
    operations: tuple[OperationRule, ...]
    patterns: tuple[OperationRule, ...]  # the operations that have one
    phrases: dict[str, int]  # words of a head, joined by spaces -> rank of the first operation that has them


@cache
def rule_book() -> RuleBook:
    """Read both rule files, once per process."""
    libraries = tomllib.loads((_HERE / "kernel_libraries.toml").read_text(encoding="utf-8"))
    operations = tomllib.loads((_HERE / "kernel_operations.toml").read_text(encoding="utf-8"))["operation"]
    rules = tuple(_operation(rank, entry) for rank, entry in enumerate(operations))
    phrases = {words: rule.rank for rule in reversed(rules) for words in rule.words}
    return RuleBook(
        libraries["version"],
        libraries["families"],
        libraries["without_mark"],
        tuple(_library(entry) for entry in libraries["library"]),
        rules,
        tuple(rule for rule in rules if rule.expression is not None),
        phrases,
    )


def find_operation(normal: str, head: str) -> tuple[OperationRule | None, Groups]:
    """Return the first operation that `normal` and its `head` (the bare function name) match, and the named groups."""
    book = rule_book()
    by_words = min((book.phrases[phrase] for phrase in head_phrases(head) if phrase in book.phrases), default=None)
    for rule in book.patterns:
        if by_words is not None and rule.rank > by_words:
            break
        pattern = rule.pattern
        found = pattern.search(head if rule.where == "head" else normal) if pattern else None
        if found:
            return rule, found.groupdict()
    return (None if by_words is None else book.operations[by_words]), {}


def find_library(spelled: str, qualified: str) -> str | None:
    """Return the first library whose mark the name bears; `qualified` is the head with its namespaces."""
    for rule in rule_book().libraries:
        if rule.pattern.search(qualified if rule.where == "head" else spelled):
            return rule.name
    return None


def head_phrases(head: str) -> Iterator[str]:
    """Yield the words of a function name and their runs: `vecAdd_kernel` has vec, add, kernel, vec add and so on.

    A word that ends in digits also counts without them: `stencil2d` keeps its own, `reduce6` is `reduce` too.
    """
    words = [found.lower() for found in _WORD.findall(head)[:_READ_WORDS]]
    bare = [word.rstrip("0123456789") or word for word in words]
    for run in range(1, _LONGEST_PHRASE + 1):
        for at in range(len(words) - run + 1):
            yield " ".join(words[at : at + run])
            yield " ".join(bare[at : at + run])


def _library(entry: dict[str, Any]) -> LibraryRule:
    return LibraryRule(entry["name"], entry["where"], entry["pattern"], entry["example"])


def _operation(rank: int, entry: dict[str, Any]) -> OperationRule:
    return OperationRule(
        rank,
        entry["family"],
        entry["operation"],
        tuple(entry.get("details", ())),
        entry["where"],
        entry.get("pattern"),
        tuple(entry.get("words", ())),
        entry["example"],
    )
