"""Every error that nsightkit raises on purpose.

In: a message that names the thing, says what is wrong and what to do next, and a slug.
Out: an exception that the command line turns into one line and exit code 1; the slug is the
heading of the paragraph in ``docs/errors.md`` that explains it.
"""


class NsightkitError(Exception):
    """Something expected went wrong, and the message says what to do about it."""

    exit_code = 1  # of the command line; a child may have its own

    def __init__(self, message: str, *, slug: str) -> None:
        super().__init__(message)
        self.slug = slug


class ToolError(NsightkitError):
    """A profiler or reader that is needed is missing, too old, or lacks permission."""


class CaptureError(NsightkitError):
    """The profiled program or the profiler failed, timed out, or left no usable output."""


class IngestError(NsightkitError):
    """An input cannot be read as the capture it claims to be."""


class TableError(NsightkitError):
    """Data do not fit their declared table."""


class AnalysisError(NsightkitError):
    """The inputs of an analysis are not there."""


class ReportError(NsightkitError):
    """A report cannot be written where it was asked for."""
