"""The command line: one command a file, listed here.

In: the arguments of the shell. Out: text on the terminal and an exit code. This package is the only place that
prints, and this file the one boundary that turns our errors into a line on stderr and exit code 1; wrong usage is 2.
"""

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from nsightkit import __version__
from nsightkit.errors import NsightkitError

# Name and what the help page says of it, in the order of the pipeline. Standing here, the help page need not load
# every command.
COMMANDS = {
    "doctor": "Check tools, driver, GPU and permissions; say how to mend them.",
    "selfcheck": "Profile a program whose work is known, and compare with the truth.",
    "profile": "Run a workload under a profiler and report on it.",
    "deepen": "Add counters of the costliest kernels to a run with a timeline.",
    "ingest": "Turn captures into a run directory of parquet tables.",
    "info": "Say what a capture or a run holds.",
    "top": "Say what takes the time: kernels, ranges, families, calls, ranks.",
    "ranges": "Say which NVTX range launched the GPU's work.",
    "timeline": "Say how busy each GPU was, and what it waited for.",
    "ranks": "Compare the ranks of one job: stragglers and imbalance.",
    "classify": "Say what bounds each kernel: compute, memory or latency.",
    "roofline": "Place every kernel or operator under the roofs of its GPU.",
    "utilization": "Say how much of the peaks each phase used: MFU and MBU.",
    "verdict": "Say what bounds a whole run, or why that cannot be decided.",
    "advice": "List what NVIDIA's own rules advise, the most promising first.",
    "whatif": "Say what the kernels would take with other peaks.",
    "render": "Write the report of a run: HTML and Markdown.",
    "export": "Write a timeline that Perfetto opens.",
    "compare": "Say what changed between runs, whether it is real, and why.",
    "gate": "Pass or fail a change in CI.",
    "baseline": "Save, list, show and remove baselines.",
    "model": "Say what a language model costs on paper.",
    "sweep": "Run a workload over a matrix of settings.",
    "study": "Run a whole study and report on it.",
    "gpus": "List the GPUs whose data sheets are known, or show one with its sources.",
    "ceilings": "Measure what this machine reaches: matrix products and memory traffic.",
    "explain": "Say more about an error, by the word that its message names.",
}


class Boundary(click.Group):
    """A group that loads a command when it is named and ends expected errors with one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the pipeline."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command `cmd_name` from the module of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"nsightkit.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command named first in `args`; a misspelt one is answered with the one that was meant."""
        from difflib import get_close_matches

        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            meant = get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean '{meant[0]}'?" if meant else f"the commands are {', '.join(COMMANDS)}"
            ctx.fail(f"no command '{name}'; {hint}")
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the arguments; `--help` prints already here."""
        with _expected_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an expected error becomes a message and exit code 1."""
        with _expected_errors():
            result = super().invoke(ctx)
            # What is still in the buffer would fail only after the last chance to say so.
            sys.stdout.flush()
            return result


@contextmanager
def _expected_errors() -> Iterator[None]:
    try:
        yield
    except NsightkitError as error:
        click.ClickException(f"{error}\nmore: nsightkit explain {error.slug}").show()
        raise click.exceptions.Exit(error.exit_code) from None
    except click.BadParameter as error:
        said = error.message + _meant(error)
        raise click.BadParameter(said, error.ctx, error.param, error.param_hint) from None
    except PermissionError as error:
        raise click.ClickException(
            f"{error.filename}: {error.strerror}; check its permissions and those of the folders above it\n"
            "more: nsightkit explain cannot-read"
        ) from None
    except BrokenPipeError:
        # The reader of our output has seen enough (`| head`).
        raise click.exceptions.Exit(0) from None
    except OSError as error:
        if error.filename is not None:
            raise
        raise click.ClickException(f"cannot write the output: {error.strerror}") from None


def _meant(error: click.BadParameter) -> str:
    """Return a question after the choice that was meant, where the value is nearly one of them."""
    from difflib import get_close_matches

    typed = re.match(r"'(.*?)' is ", error.message)
    if typed is None or error.param is None or not isinstance(error.param.type, click.Choice):
        return ""
    near = get_close_matches(typed[1], list(map(str, error.param.type.choices)), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


@click.group(cls=Boundary, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="nsightkit")
def cli() -> None:
    """Which GPU kernels cost the time, how far is each from the hardware's roof, and how do we know.

    A PATH is a capture (.ncu-rep, ncu CSV, nsys SQLite or parquet export, .nsys-rep, nsys stats output, torch.profiler
    trace), a folder of captures, or a run directory that 'nsightkit ingest' or 'nsightkit profile' made. What a file
    is, is told by its content.

    \b
    nsightkit profile --tool nsys --tokens 16     run an annotated workload under a profiler
    nsightkit classify report.ncu-rep             memory-, compute- or latency-bound, by which rule?
    nsightkit render                              the report of the newest run
    """
