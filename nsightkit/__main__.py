"""Runs the command line: ``nsightkit`` and ``python -m nsightkit``."""


def main() -> None:
    """Run the command line and exit with its status."""
    import gc

    # Loading modules and rows makes hundreds of thousands of objects and hardly a cycle: to look for cycles after every
    # 700 of them costs a twentieth of a short command.
    gc.set_threshold(50_000, 20, 20)
    from nsightkit.cli import cli

    cli(prog_name="nsightkit")


if __name__ == "__main__":
    main()
