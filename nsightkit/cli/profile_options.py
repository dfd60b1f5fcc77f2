"""The options of ``nsightkit profile`` and ``nsightkit deepen``, and their defaults in the user's pyproject.toml.

In: words of the command line, and the table ``[tool.nsightkit]`` of the nearest pyproject.toml. Out: `Wishes`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from nsightkit.capture.options import CACHE_CONTROL, CLOCK_CONTROL, RANGE_REPLAYS, Counters, Options, Scope, Window
from nsightkit.capture.shells import SHELLS

TOOLS = ("auto", "nsys", "ncu", "torch", "nsys+ncu")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?")
_SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
Command = Callable[..., None]


class Seconds(click.ParamType[float]):
    """A time as 90, 90s, 10m or 1h; in seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds that `value` stands for."""
        match = _DURATION.fullmatch(str(value).strip())
        seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
        if seconds <= 0:
            self.fail(f"'{value}' is no time above 0; write 90, 90s, 10m or 1h", param, ctx)
        return seconds


class Words(click.ParamType[str]):
    """A text that says something: an empty one would be handed to the profiler, or silently mean nothing."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text."""
        if not str(value).strip(" ,"):
            self.fail("it is empty; leave the option out instead", param, ctx)
        return str(value)


class WindowOf(click.ParamType[Window]):
    """DELAY:DURATION, both times."""

    name = "DELAY:DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Window:
        """Return the window that `value` describes."""
        if isinstance(value, Window):
            return value
        delay, colon, duration = str(value).partition(":")
        if not colon:
            self.fail(f"'{value}' is not DELAY:DURATION, as 30:5 for five seconds after the first thirty", param, ctx)
        begin = 0.0 if re.fullmatch(r"0+(\.0+)?s?", delay.strip()) else Seconds().convert(delay, param, ctx)
        return Window(begin, Seconds().convert(duration, param, ctx))


class Percent(click.ParamType[float]):
    """A share as 90% or 0.9; 0 to 1."""

    name = "SHARE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share that `value` stands for."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 < share <= 1:
            self.fail(f"'{value}' is no share; write 90% or 0.9", param, ctx)
        return share


@dataclass(frozen=True)
class Wishes:
    """Everything that the command line can say; names are those of the options."""

    tool: str = "auto"
    tokens: int | None = None
    range_name: str | None = None
    window: Window | None = None
    gate: str | None = None
    repeat: int = 1
    output: Path | None = None
    name: str | None = None
    timeout: float | None = None
    dry_run: bool = False
    shell: str = "posix"
    section_set: str | None = None
    section: tuple[str, ...] = ()
    metrics: str | None = None
    kernel: str | None = None
    launch_skip: int | None = None
    launch_count: int | None = None
    replay_mode: str | None = None
    clock_control: str = CLOCK_CONTROL
    cache_control: str = CACHE_CONTROL
    python_stacks: bool = False
    gpu_metrics: bool = False
    extra_nsys: tuple[str, ...] = ()
    extra_ncu: tuple[str, ...] = ()
    overhead: bool = True
    ceilings: bool = True
    render: bool = True
    resume: bool = False
    coverage: float = 0.9
    top: int = 20
    budget: float = 600.0

    def __post_init__(self) -> None:
        chosen = [name for name, value in (("--range", self.range_name), ("--window", self.window),
                                           ("--gate", self.gate)) if value is not None]  # fmt: skip
        if len(chosen) > 1:
            raise click.UsageError(f"{' and '.join(chosen)} both say which part is captured: give one of them")

    def options(self, tool: str) -> Options:
        """Return what is asked of `tool`; with nsys+ncu the timeline is whole, and the range is chosen afterwards."""
        scope = Scope(self.range_name, self.repeat if self.range_name else 1, self.window, self.gate is not None)
        counters = Counters(
            self.section_set, tuple(filter(None, (self.metrics or "").split(","))), self.section, self.kernel,
            self.launch_skip, self.launch_count, self.replay_mode, self.clock_control, self.cache_control,
        )  # fmt: skip
        extra = {"nsys": self.extra_nsys, "ncu": self.extra_ncu}.get(tool, ())
        return Options(scope, counters, self.python_stacks, self.gpu_metrics, extra)

    @property
    def process_runs(self) -> int:
        """How often the workload itself runs; instances of a range are captured within one run."""
        return 1 if self.range_name else self.repeat


# Options that only some tools know, and why the others cannot use them.
_COUNTERS = ("section_set", "section", "metrics", "replay_mode", "clock_control", "cache_control", "extra_ncu")
_LAUNCHES = ("kernel", "launch_skip", "launch_count")
_TRACED = ("python_stacks", "gpu_metrics", "extra_nsys")
_TARGETS = ("coverage", "top", "budget")
_KNOWN_TO = (
    (_COUNTERS, ("ncu", "nsys+ncu"), "is for ncu"),
    (_LAUNCHES, ("ncu",), "is for ncu by itself: nsys and torch record every kernel, and with nsys+ncu the timeline "
                          "chooses the launches"),
    (_TRACED, ("nsys", "nsys+ncu"), "is for nsys"),
    (_TARGETS, ("nsys+ncu",), "is for nsys+ncu"),
    (("repeat",), ("nsys", "ncu", "torch"), "repeats one tool; there the timeline is one run, of which ncu measures "
                                            "early and late steps"),
)  # fmt: skip


def refuse_useless(ctx: click.Context, tool: str) -> None:
    """Refuse words of the command line that `tool` would ignore; defaults of a project may stand for other tools.

    Raises:
        click.UsageError: naming the option and the tools that know it.
    """
    spelled = {param.name: param.opts[-1] for param in ctx.command.params if isinstance(param, click.Option)}
    for names, tools, reason in _KNOWN_TO:
        if tool in tools:
            continue
        for name in names:
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{spelled[name]} does not go with --tool {tool}: it {reason}")


def refuse_range_replay(wishes: Wishes, tool: str) -> None:
    """Refuse to choose kernels where ncu replays whole ranges: it would refuse after the timeline was made.

    Raises:
        click.UsageError: naming what does not go together.
    """
    if tool not in ("ncu", "nsys+ncu") or wishes.replay_mode not in RANGE_REPLAYS:
        return
    chooser = "nsys+ncu" if tool == "nsys+ncu" else "--kernel" if wishes.kernel else None
    if chooser:
        raise click.UsageError(
            f"--replay-mode {wishes.replay_mode} does not go with {chooser}: ncu then measures whole ranges, "
            "and chooses no kernels in them"
        )


def _decorated(function: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        function = option(function)
    return function


def scope_options(function: Command) -> Command:
    """Add what limits a capture."""
    return _decorated(function, (
        click.option("--range", "range_name", type=Words(), metavar="NAME",
                     help="Capture the NVTX range NAME only (or range@domain); with nsys+ncu measure it. Keeps files "
                     "small: else the whole run is recorded, and ranges are chosen afterwards."),
        click.option("--window", type=WindowOf(),
                     help="nsys: capture DURATION after DELAY, then end the workload. For servers."),
        click.option("--gate", type=click.Choice(("cudaProfilerApi",)),
                     help="Capture between cudaProfilerStart and cudaProfilerStop."),
        click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                     help="With --range: so many instances of it, one capture each. Else: run the workload N times."),
    ))  # fmt: skip


def launch_options(function: Command) -> Command:
    """Add which launches ncu measures where no timeline chooses them."""
    return _decorated(function, (
        click.option("--kernel", type=Words(), metavar="REGEX", help="ncu: only kernels whose demangled name matches."),
        click.option("--launch-skip", type=click.IntRange(min=0), metavar="N", help="ncu: skip N matching launches."),
        click.option("--launch-count", type=click.IntRange(min=1), metavar="N", help="ncu: profile N at most."),
    ))  # fmt: skip


def counter_options(function: Command) -> Command:
    """Add what goes to ncu."""
    return _decorated(function, (
        click.option("--set", "section_set", type=Words(), metavar="SET",
                     help="ncu: section set.  [default: the metrics of the roofline on this GPU; detailed where the "
                     "GPU is not known]"),
        click.option("--section", type=Words(), multiple=True, metavar="NAME",
                     help="ncu: one more section. Repeatable."),
        click.option("--metrics", type=Words(), metavar="LIST",
                     help="ncu: metrics, separated by commas, instead of the roofline's."),
        click.option("--replay-mode", type=click.Choice(("kernel", "application", "range", "app-range")),
                     help="ncu: how passes are repeated; application needs a deterministic workload."
                     "  [default: application in scripts with the line '# nsightkit: deterministic', else kernel]"),
        click.option("--clock-control", type=click.Choice(("base", "boost", "force-boost", "none")),
                     default=CLOCK_CONTROL, show_default=True, help="ncu: lock the clocks, or leave them."),
        click.option("--cache-control", type=click.Choice(("all", "none")), default=CACHE_CONTROL, show_default=True,
                     help="ncu: empty the caches before each pass, or leave them."),
        click.option("--extra-ncu", multiple=True, metavar="WORD", help="A word more for ncu. Repeatable."),
    ))  # fmt: skip


def target_options(function: Command) -> Command:
    """Add how much of a timeline is measured with counters."""
    return _decorated(function, (
        click.option("--coverage", type=Percent(), default="90%", show_default=True,
                     help="nsys+ncu: measure the kernels that make up this share of the range's GPU time."),
        click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, metavar="N",
                     help="nsys+ncu: so many kernels at most."),
        click.option("--budget", type=Seconds(), default="10m", show_default=True,
                     help="nsys+ncu: measure no more than fits; the estimate is printed first."),
    ))  # fmt: skip


def run_options(function: Command) -> Command:
    """Add how the run is made and shown."""
    return _decorated(function, (
        click.option("--timeout", type=Seconds(),
                     help="End the workload and the profiler after this time; what was captured is kept."),
        click.option("--dry-run", is_flag=True, help="Print the exact command lines, quoted for a shell, and stop."),
        click.option("--shell", type=click.Choice(SHELLS), default="posix", show_default=True,
                     help="The shell for which --dry-run quotes."),
        click.option("--render/--no-render", default=True, help="Stop after the tables, without a report."),
    ))  # fmt: skip


def project_defaults(options: Mapping[str, click.Option], start: Path | None = None) -> dict[str, Any]:
    """Return the defaults in ``[tool.nsightkit]`` of the nearest pyproject.toml, under the names of the parameters.

    Args:
        options: the options by the names of their parameters.
        start: where the search begins; the working directory by default.

    Raises:
        click.UsageError: the file is no TOML, or has a key that is no option, or a value of another type.
    """
    folder = (start or Path.cwd()).resolve()
    path = next((p / "pyproject.toml" for p in (folder, *folder.parents) if (p / "pyproject.toml").is_file()), None)
    if path is None:
        return {}
    try:
        tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path}: cannot be read as TOML ({error})") from None
    table = tools.get("nsightkit", {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise click.UsageError(f"{path}: [tool.nsightkit] is no table; write a key a line, as  tokens = 16")
    spelled = dict(_spelled(key, value, options) for key, value in table.items())
    unknown = sorted(set(spelled) - set(options))
    if unknown:
        near = get_close_matches(unknown[0], options, n=1)
        meant = f"did you mean {options[near[0]].opts[-1].lstrip('-')}? " if near else ""
        raise click.UsageError(
            f"{path}: [tool.nsightkit] has '{unknown[0].replace('_', '-')}', which is no option of nsightkit profile; "
            f"{meant}keys are the long options without the dashes"
        )
    for name, value in spelled.items():
        wrong = _type_missed(options[name], value) or _value_missed(options[name], value)
        if wrong:
            key = options[name].opts[-1].lstrip("-")
            raise click.UsageError(f"{path}: [tool.nsightkit] has {key} = {value!r}{wrong}")
    return spelled


def _spelled(key: str, value: Any, options: Mapping[str, click.Option]) -> tuple[str, Any]:
    """Return the parameter and the value that a key means: no-render = true is render = false."""
    name = _ALIASES.get(key, key.replace("-", "_"))
    positive = name.removeprefix("no_")
    if positive != name and positive in options and options[positive].secondary_opts and isinstance(value, bool):
        return positive, not value
    return name, value


def _value_missed(option: click.Option, value: Any) -> str:
    """Return what the option itself says against `value`, where it refuses it."""
    try:
        option.type_cast_value(click.Context(click.Command("profile")), value)
    except click.BadParameter as error:
        return f": {error.message}"
    return ""


def _type_missed(option: click.Option, value: Any) -> str:
    """Say what `value` should be and is not: click would take true for 1, 2.5 for 2 and a list for its text."""
    if option.is_flag:
        return "" if isinstance(value, bool) else ", which is not true or false"
    if option.multiple:
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return "" if fits else ', which is not a list, as ["…", "…"]'
    if isinstance(option.type, click.IntRange):
        return "" if isinstance(value, int) and not isinstance(value, bool) else ", which is not a whole number"
    scalar = isinstance(value, str | int | float) and not isinstance(value, bool)
    return "" if scalar else ", which is not a text or a number"


# Options whose parameter has another name than the option.
_ALIASES = {"range": "range_name", "set": "section_set"}
