"""Runs the command line: ``nsightkit`` and ``python -m nsightkit``."""


def main() -> None:
    """Run the command line and exit with its status."""
    from nsightkit.cli import cli

    cli(prog_name="nsightkit")


if __name__ == "__main__":
    main()
