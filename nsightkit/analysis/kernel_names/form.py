"""Levels what nsys, ncu and torch print differently for one and the same kernel.

In: a kernel's name as a profiler printed it. Out: its spelling without a tool's habits (namespaces kept), and from that
the normal form, which also lacks what only some tools print: namespaces and the parameters of templates.
Each step reads the text once from left to right, so that a hostile name costs no more than its length.
"""

import re

# nsys `<unnamed>::`, ncu `unnamed>::` (it loses the bracket), torch `(anonymous namespace)::`. After a letter the
# bracket opens a template list that ncu left whole: `f<at::<unnamed>::T>` is `f<unnamed>::T>` there.
_ANONYMOUS = re.compile(r"(?:(?<!\w)<|\b)unnamed>::|\(anonymous namespace\)::|\{anonymous\}::|\b_GLOBAL__N__\w++::")
_CAST = re.compile(r"\([A-Za-z_][\w: ]*+\)(?=-?\d)")
_SUFFIX = re.compile(r"\b(\d++)[uUlL]++\b")
_TRUE = re.compile(r"\btrue\b")
_FALSE = re.compile(r"\bfalse\b")
_LAMBDA_OPEN = re.compile(r"[\[{](?=lambda\b)")
_LAMBDA_CLOSE = re.compile(r" ?\(instance (\d++)\)\]?|#(\d++)\}")
_BEFORE_LAMBDA = re.compile(r"::(?=lambda\b)")
_DROPPED_WORDS = re.compile(r"\b(?:const|volatile|__restrict__|__restrict|typename|struct|class|enum)\b")
_VOID_RETURN = re.compile(r"\bvoid (?=[A-Za-z_])")
_SPACES = re.compile(r" ++(?!\w)|(?<!\w) ++")
_NAMESPACE = re.compile(r"\b[A-Za-z_]\w*+::(?=[A-Za-z_~])")
_ABI_TAG = re.compile(r"\[(?:abi:)?v\d++,?\w*+\]")  # numba's: it changes from build to build
_CONDITIONAL_RETURN = re.compile(r"(?:std::)?enable_if(?:_t)?(?=<)")
_MANGLED = re.compile(r"(?:^|_)(?=_Z[NL0-9])")
_MANGLED_VALUE = re.compile(
    r"L[a-z]n?[0-9]++E|S[0-9A-Z]*+_|S[a-z]|T[0-9]*+_"
)  # literal, substitution, template parameter
_MANGLED_LENGTH = re.compile(r"[0-9]{1,4}")
_BUILTIN = {"f": "float", "d": "double", "a": "signed char"}


def spell(name: str) -> str:
    """Return `name` without spaces, casts, suffixes and marks that depend on the tool; namespaces stay."""
    if name.isidentifier():
        return name
    text = _ABI_TAG.sub("", _ANONYMOUS.sub("", " ".join(name.split())))
    text = _FALSE.sub("0", _TRUE.sub("1", _SUFFIX.sub(r"\1", _CAST.sub("", text))))
    text = _LAMBDA_CLOSE.sub(lambda found: "#" + (found[1] or found[2]), _LAMBDA_OPEN.sub("", text))
    text = _VOID_RETURN.sub("", _DROPPED_WORDS.sub("", text).strip())
    text = _BEFORE_LAMBDA.sub("", _SPACES.sub("", text))
    return _drop_conditional_return(text).replace(",", ", ")


def normal_form(spelled: str) -> str:
    """Return the form common to the tools: `spelled` without namespaces and without parameters of templates.

    A template's parameters follow from its arguments, and each tool prints them in its own way (`T2` or the type).
    """
    text = _NAMESPACE.sub("", spelled)
    partners = _partners(text)
    kept, at = [], 0
    for close in sorted(partners.values()):
        opened = close + 1
        if close >= at and text[close] == ">" and opened in partners:
            kept.append(text[at:opened])
            at = partners[opened] + 1
    return "".join(kept) + text[at:]


def qualified_head(spelled: str) -> str:
    """Return the function's own name with its namespaces: what stands before `<`, `(` or `[`."""
    ends = [at for at in map(spelled.find, "<([") if at > 0]
    return spelled[: min(ends)] if ends else spelled


def readable_mangled(name: str) -> str:
    """Return the identifiers of a mangled name as `a::b<c, d>`; any other name comes back as it is.

    This is no demangler: substitutions, values and most builtin types are lost. It is enough to see what a kernel is.
    Source: https://itanium-cxx-abi.github.io/cxx-abi/abi.html#mangling
    """
    found = _MANGLED.search(name)
    if not found:
        return name
    at = found.end() + 2
    names: list[list[str]] = []  # the words of one qualified name each; the first is the function
    nested = open_name = False
    while at < len(name):
        word, following = _mangled_word(name, at)
        if word and open_name and nested:
            names[-1].append(word)
        elif word:
            names.append([word])
        nested = name[at] == "N" or (nested and name[at] not in "IE")
        open_name = bool(word) or (open_name and name[at] not in "INE")
        at = following
    texts = ["::".join(words) for words in names]
    return texts[0] + (f"<{', '.join(texts[1:])}>" if texts[1:] else "") if texts else name


def _mangled_word(name: str, at: int) -> tuple[str, int]:
    """Return the identifier (its length stands first) or builtin type at `at`, or "", and where to go on."""
    skipped = _MANGLED_VALUE.match(name, at)
    if skipped:
        return "", skipped.end()
    length = _MANGLED_LENGTH.match(name, at)
    if not length:
        return _BUILTIN.get(name[at], ""), at + 1
    end = length.end() + int(length[0])
    word = name[length.end() : end]
    return (word, end) if len(word) == int(length[0]) and word.isidentifier() else ("", length.end())


def _drop_conditional_return(text: str) -> str:
    """`enable_if<…>::type f<…>` is `f<…>`: each tool spells the condition in its own way."""
    found = _CONDITIONAL_RETURN.match(text)
    close = _partners(text).get(found.end()) if found else None
    if close is None:
        return text
    return text[close + 1 :].removeprefix("::type").strip() or text


def _partners(text: str) -> dict[int, int]:
    """Where each bracket closes. A `>` inside parentheses is a comparison: torch has enable_if<(((8)>(0))), void>."""
    partners: dict[int, int] = {}
    angles: list[list[int]] = [[]]  # one list of open `<` per open parenthesis
    rounds: list[int] = []
    for at, char in enumerate(text):
        if char == "<":
            angles[-1].append(at)
        elif char == ">" and angles[-1]:
            partners[angles[-1].pop()] = at
        elif char == "(":
            rounds.append(at)
            angles.append([])
        elif char == ")" and rounds:
            partners[rounds.pop()] = at
            angles.pop()
    return partners
