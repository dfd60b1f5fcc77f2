"""How long the command line takes to answer, beside a bare import of click."""

import sys
from pathlib import Path

from paired import measure, report

NSIGHTKIT = str(Path(sys.executable).with_name("nsightkit"))

if __name__ == "__main__":
    costs = measure(
        {
            "python -c 'import click'": [sys.executable, "-c", "import click"],
            "python -c 'import nsightkit'": [sys.executable, "-c", "import nsightkit"],
            "nsightkit --help": [NSIGHTKIT, "--help"],
            "nsightkit classify --help": [NSIGHTKIT, "classify", "--help"],
        },
        rounds=15,
    )
    report("start-up", costs, "under 2.5 × import click")
