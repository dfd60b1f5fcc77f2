"""Names of ranges in the form in which instances of one thing share one name.

In: names as the program gave them. Out: `step_*` for `step_17`, `aten::addmm` for `aten::addmm, op_id = 5`. A number
counts instances where it stands alone; in `w1`, `h2d`, `fp16` and `batch=8` it is part of the name. A name whose form
nobody else has stays as it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from nsightkit.analysis.arrays import Codes, codes_of

if TYPE_CHECKING:
    import pyarrow as pa

# What PyTorch's emit_nvtx puts behind the name of an operator. Source: torch.autograd.profiler.emit_nvtx.
_OPERATOR_TAIL = r", (seq|op_id|sizes|input_op_ids) = .*$"
_ALONE = re.compile(r"(?<![A-Za-z0-9=])(?<!= )\d+(?![A-Za-z0-9])")


def normal_name(name: str) -> str:
    """Return `name` without what tells its instances apart.

    >>> normal_name("step_17"), normal_name("layers.3.w1"), normal_name("aten::add, seq = 4, op_id = 9")
    ('step_*', 'layers.*.w1', 'aten::add')
    """
    return _ALONE.sub("*", re.sub(_OPERATOR_TAIL, "", name, flags=re.DOTALL))


def phase_of(name: str, phases: Collection[str]) -> str:
    """Return which of `phases` a range is, by its name or by the form that tells no instances apart; "" for none."""
    if name in phases:
        return name
    form = normal_name(name)
    return form if form in phases else ""


def normalized(names: pa.Array) -> tuple[Codes, list[str]]:
    """Return for distinct `names` the code of the form that each goes by, and these forms."""
    import pyarrow.compute as pc

    if not len(names):
        return np.empty(0, np.int32), []
    cut = pc.replace_substring_regex(names, f"(?s){_OPERATOR_TAIL}", "").dictionary_encode()
    stems = cut.dictionary.to_pylist()
    stem_of = codes_of(cut.indices)
    forms = [_ALONE.sub("*", stem) for stem in stems]
    shared = Counter(forms)
    chosen = [form if shared[form] > 1 else stem for form, stem in zip(forms, stems, strict=True)]
    places = {name: place for place, name in enumerate(dict.fromkeys(chosen))}
    return np.array([places[name] for name in chosen], np.int32)[stem_of], list(places)


def means(name: str, pattern: str) -> bool:
    """Say whether `pattern`, as a user writes it, means the range `name`: itself, its normal form, or with * and ?.

    >>> means("step_17", "step_*"), means("step_17", "step_17"), means("copy 3", "copy *"), means("a", "b")
    (True, True, True, False)
    >>> means("grad [w1]", "grad [w*]"), means("grad w", "grad [w1]")
    (True, False)
    """
    # Brackets are part of many names; only * and ? stand for other text.
    return name == pattern or fnmatchcase(name, pattern.replace("[", "[[]")) or normal_name(name) == pattern


def meant(names: Iterable[str], pattern: str) -> list[str]:
    """Return the forms of the names that `pattern` means: "copy *" as a pattern means "copy * back" too.

    >>> meant(["copy 1", "copy 2", "copy 1 back", "step 1"], "copy *")
    ['copy *', 'copy * back']
    """
    return list(dict.fromkeys(normal_name(name) for name in names if means(name, pattern)))
