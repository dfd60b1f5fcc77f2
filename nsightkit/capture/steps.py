"""Runs the steps of a capture, one after the other, and remembers which of them are done.

In: requests with the tool of each. Out: `Captured` values. Beside its files each step leaves a record, so that a run
that was cut short goes on where it stopped (`--resume`); a step whose command has changed since is refused.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from nsightkit.capture import load_backend, torch_profiler
from nsightkit.capture.backend import Captured, OnLine, Plan, Request
from nsightkit.capture.process import run_child
from nsightkit.errors import CaptureError
from nsightkit.run import write_text


@dataclass(frozen=True)
class Step:
    """One run of the workload under one tool; its files are named by the stem of the request's options."""

    tool: str
    request: Request

    @property
    def record_path(self) -> Path:
        """Where it is written that the step is done."""
        return self.request.stem(self.tool).with_suffix(".step.json")


def run_step(step: Step, on_line: OnLine | None = None, resume: bool = False) -> Captured:
    """Run `step`, or return what an earlier call left of it where `resume` allows that.

    Raises:
        ToolError: the tool is missing or refuses to work.
        CaptureError: the workload failed, no capture came out, or the step was made with another command.
    """
    done = _recorded(step) if resume else None
    if done is not None:
        return done
    captured = load_backend(step.tool).capture_workload(step.request, on_line)
    _record(step, captured)
    return captured


def _recorded(step: Step) -> Captured | None:
    try:
        data = json.loads(step.record_path.read_text(encoding="utf-8"))
        paths = tuple(step.request.capture_dir / name for name in data["files"])
        plan = Plan(tuple(data["argv"]), data["tool_version"], tuple(data["plan_notes"]))
        captured = Captured(
            data["backend"], paths, plan, data["exit_code"], data["wall_s"], tuple(data["notes"]),
            data["workload_wall_s"], data["settings"],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not all(path.exists() for path in paths):
        return None
    wanted = load_backend(step.tool).plan(step.request).argv
    if wanted != plan.argv:
        raise CaptureError(
            f"{step.record_path}: this step was captured with another command; repeat that command to resume it, or "
            "name another folder with -o",
            slug="resume-differs",
        )
    return captured


def _record(step: Step, captured: Captured) -> None:
    data = {
        "backend": captured.backend,
        "files": [path.name for path in captured.paths],
        "argv": captured.plan.argv,
        "tool_version": captured.plan.tool_version,
        "plan_notes": captured.plan.notes,
        "exit_code": captured.exit_code,
        "wall_s": captured.wall_s,
        "workload_wall_s": captured.workload_wall_s,
        "notes": captured.notes,
        "settings": captured.settings,
    }
    write_text(step.record_path, json.dumps(data, indent=2) + "\n")


def time_untraced(step: Step, on_line: OnLine | None = None) -> float | None:
    """Run the workload of `step` without a profiler; return its seconds, None where it failed or took too long.

    What is timed is what the tool times: the process, or for torch.profiler the script alone.
    """
    request = step.request
    torch = step.tool == torch_profiler.TOOL
    argv = torch_profiler.plain_argv(request) if torch else request.workload.argv
    result = run_child(argv, request.log_path, request.timeout_s, on_line)
    if result.timed_out or result.exit_code:
        return None
    return torch_profiler.plain_seconds(request) if torch else result.wall_s
