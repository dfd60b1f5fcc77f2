"""Tells where nsys lost its agent, the process of its own that collects.

In: how a run of nsys ended. Out: what nsys said of it, and the error to raise.

Source: the messages in the program of nsys 2023.4. On a busy machine its agent ended by itself in 4 of 120 starts (a
segmentation fault in its thread AnalysisService), and nsys with status 0 or 1 and no report; killed at several moments
it left the same. The last of the messages comes inside an exception of several lines.
"""

import re

from nsightkit.capture.backend import Request
from nsightkit.capture.process import ChildResult
from nsightkit.errors import CaptureError

LOST = re.compile(
    r"Connection to Agent (?:is )?lost|Agent launcher (?:failed|exited|error|exceeded)|Failed to connect to Agent"
    r"|Local Endpoint is not available"
)


def agent_lost(result: ChildResult) -> str | None:
    """Return what nsys said of its lost agent, None where it said no such thing."""
    lost = [line for line in result.lines()[1:] if LOST.search(line)]
    if not lost:
        return None
    said = next((line for line in lost if "Connection to Agent" in line), lost[0])
    # An exception is printed with its tag before the message: [QuadDCommon::…] = Local Endpoint is not available.
    return said.rpartition("] = ")[2].strip()[:300]


def agent_error(said: str, request: Request, tries: int) -> CaptureError:
    """Return the error for a capture that was lost with the agent; the status of nsys tells nothing of the workload."""
    name = request.workload.name
    often = f", {tries} times in a row" if tries > 1 else ""
    return CaptureError(
        f'nsys lost its own agent, the process that collects{often}: it said "{said}"; nothing was captured, and '
        f"whether {name} ran is not known (what was left of it has been ended). That is no fault of {name} or of the "
        f"options: run it again, with a newer nsys if it happens often. Log: {request.log_path}",
        slug="agent-lost",
    )
