"""Writes a command as one would type it in a shell.

In: a command line. Out: one line for a POSIX shell or for PowerShell, in which every word means itself.
"""

import re
from collections.abc import Sequence

from nsightkit.capture.process import EXTRA_ENV, shell_line

SHELLS = ("posix", "powershell")
_PLAIN = re.compile(r"[A-Za-z0-9_./\\:=+-]+")
# A dot or colon behind a single dash would end the parameter: -lr=0.5 arrives as two words.
_PLAIN_OPTION = re.compile(r"--?[A-Za-z0-9_-]+|--[A-Za-z0-9_-]+=[A-Za-z0-9_./\\:-]+")
# PowerShell takes typographic single quotes for plain ones.
_QUOTES = re.compile("['\u2018\u2019\u201a\u201b]")
# Windows PowerShell hands words with these on as they are typed; from release 7.3 on that has to be asked for.
_DELICATE = re.compile(r'"|\s.*\\$', re.DOTALL)
_AS_TYPED = "$PSNativeCommandArgumentPassing='Legacy'; "


def command_line(argv: Sequence[str], shell: str = "posix") -> str:
    """Return `argv` with the variables that we set, for `shell`."""
    if shell == "posix":
        return shell_line(argv)
    mode = _AS_TYPED if any(not word or _DELICATE.search(word) for word in argv) else ""
    variables = "".join(f"$env:{name}={_powershell(value)}; " for name, value in EXTRA_ENV.items())
    return f"{mode}{variables}& {' '.join(map(_powershell, argv))}"


def _powershell(word: str) -> str:
    """Quote one word. Windows PowerShell drops empty ones, and escapes neither quotes nor a last backslash."""
    if _PLAIN_OPTION.fullmatch(word) or (_PLAIN.fullmatch(word) and not word.startswith("-")):
        return word
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', word)
    if re.search(r"\s", word):
        escaped = re.sub(r"\\+$", r"\g<0>\g<0>", escaped)
    return "'" + _QUOTES.sub(r"\g<0>\g<0>", escaped or '""') + "'"
