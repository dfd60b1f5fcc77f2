"""Runs the command line: ``nsightkit`` and ``python -m nsightkit``.

In: the arguments of the process. Out: its exit code.
"""

import os
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    import gc

    # Loading modules and rows makes hundreds of thousands of objects and hardly a cycle: to look for cycles after every
    # 700 of them costs a twentieth of a short command.
    gc.set_threshold(50_000, 20, 20)
    if sys.stdout is None:  # closed by who started us (`>&-`): what nobody wants to see goes nowhere
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        from nsightkit.cli import cli
    except KeyboardInterrupt:  # from here on click answers it in the same way
        raise SystemExit("Aborted!") from None
    try:
        cli(prog_name="nsightkit")
    finally:
        # As it ends, Python looks for cycles among all objects once more; the memory goes back as a whole anyway.
        gc.freeze()


if __name__ == "__main__":
    main()
