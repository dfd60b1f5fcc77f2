"""What GPUs can do on paper: the entries of gpus.toml, each value with its source.

In: the name that a capture gives and its SM count. Out: `GpuSpec`, or None where no entry fits both. Figures are dense
(no sparsity) and hold at the boost clock; a value that is not known is None, never 0.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from nsightkit.errors import NsightkitError

GPUS_FILE = Path(__file__).with_name("gpus.toml")
_DESCRIPTION = ("names", "compute_capability", "sm_count")


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """One kind of GPU: `values` and `sources` share their keys (`dram_bytes_per_s`, `fp32_flop_per_s`, …)."""

    key: str
    names: tuple[str, ...]
    compute_capability: str
    sm_count: int
    values: Mapping[str, float]
    sources: Mapping[str, str]  # value -> key of `source_texts`

    def value(self, name: str) -> float | None:
        """Return the value called `name` in base units, None where it is not known."""
        return self.values.get(name)


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads(GPUS_FILE.read_text(encoding="utf-8"))


@cache
def all_gpus() -> tuple[GpuSpec, ...]:
    """Return every entry, in the order of the file."""
    return tuple(_spec(key, entry) for key, entry in _content()["gpu"].items())


def source_texts() -> dict[str, str]:
    """Return what each key of `GpuSpec.sources` stands for."""
    return dict(_content()["sources"])


def find_gpu(gpu_name: str | None, sm_count: int | None) -> GpuSpec | None:
    """Return the entry for a GPU that a capture names.

    Both must fit: a MIG slice or a laptop version carries a known name with another SM count, and a wrong roof is worse
    than none.
    """
    if not gpu_name or sm_count is None:
        return None
    wanted = _plain(gpu_name)
    for spec in all_gpus():
        if spec.sm_count == sm_count and wanted in map(_plain, spec.names):
            return spec
    return None


def gpu_of_key(key: str) -> GpuSpec:
    """Return the entry called `key`, or the one entry that a driver's name or the beginning of a key stands for.

    >>> gpu_of_key("h200").key, gpu_of_key("NVIDIA GeForce RTX 4090").key
    ('h200-sxm', 'rtx-4090')

    Raises:
        NsightkitError: there is none, or there are several.
    """
    wanted = _plain(key)
    ways = (
        [spec for spec in all_gpus() if spec.key == wanted],
        [spec for spec in all_gpus() if wanted in map(_plain, spec.names)],
        [spec for spec in all_gpus() if wanted and spec.key.startswith(f"{wanted}-")],
    )
    found = next((specs for specs in ways if specs), [])
    if len(found) == 1:
        return found[0]
    if found:
        meant = ", ".join(spec.key for spec in found)
        raise NsightkitError(f"'{key}' stands for several GPUs of the table: {meant}; name one", slug="unknown-gpu")
    known = ", ".join(spec.key for spec in all_gpus())
    near = get_close_matches(key.lower(), [spec.key for spec in all_gpus()], n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise NsightkitError(f"no GPU '{key}' in the table; {meant}it has {known}", slug="unknown-gpu")


def _plain(name: str) -> str:
    # Drivers of different years put "NVIDIA" before the name or not.
    return " ".join(name.casefold().removeprefix("nvidia").split())


def _spec(key: str, entry: dict[str, Any]) -> GpuSpec:
    numbers = {name: pair for name, pair in entry.items() if name not in _DESCRIPTION}
    return GpuSpec(
        key,
        tuple(entry["names"]),
        entry["compute_capability"],
        entry["sm_count"],
        {name: float(value) for name, (value, _) in numbers.items()},
        {name: source for name, (_, source) in numbers.items()},
    )
