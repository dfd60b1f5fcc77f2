"""Writes a command as one would type it in a shell.

In: a command line. Out: one line for a POSIX shell or for PowerShell, in which every word means itself.
"""

import re
from collections.abc import Sequence

from nsightkit.capture.process import EXTRA_ENV, shell_line

SHELLS = ("posix", "powershell")
_PLAIN = re.compile(r"[A-Za-z0-9_./\\:=+-]+")


def command_line(argv: Sequence[str], shell: str = "posix") -> str:
    """Return `argv` with the variables that we set, for `shell`."""
    if shell == "posix":
        return shell_line(argv)
    variables = "".join(f"$env:{name}={_powershell(value)}; " for name, value in EXTRA_ENV.items())
    return f"{variables}& {' '.join(map(_powershell, argv))}"


def _powershell(word: str) -> str:
    """Quote one word. Windows PowerShell does not escape double quotes for programs: they need a backslash."""
    if _PLAIN.fullmatch(word) and not word.startswith("-"):
        return word
    if re.fullmatch(r"--?[A-Za-z0-9_-]+(?:=[A-Za-z0-9_./\\:-]+)?", word):
        return word
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', word)
    return "'" + escaped.replace("'", "''") + "'"
