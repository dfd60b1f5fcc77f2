"""What may not be imported on the short paths: the command line must answer at once."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "matplotlib", "pandas", "pyarrow", "numpy", "jinja2", "connectorx", "rich")


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import nsightkit",
        "import nsightkit.run, nsightkit.tables",
        "from nsightkit.cli import cli\ntry:\n    cli(['--help'])\nexcept SystemExit:\n    pass",
        "from nsightkit.cli import cli\ntry:\n    cli(['classify', '--help'])\nexcept SystemExit:\n    pass",
    ],
)
def test_nothing_heavy_is_imported(code):
    assert loaded_after(code) == set()
