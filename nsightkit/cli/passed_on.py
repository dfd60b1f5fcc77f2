"""A command that keeps everything behind ``--`` for the workload.

In: the arguments of the shell. Out: those before ``--`` for the command, `workload_args` for the rest.
"""

import click

_KEY = "nsightkit.workload_args"


class PassesOn(click.Command):
    """A command that keeps everything behind ``--`` for the workload."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split `args` at the first ``--``."""
        cut = args.index("--") if "--" in args else len(args)
        ctx.meta[_KEY] = tuple(args[cut + 1 :])
        return super().parse_args(ctx, args[:cut])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show the workload's arguments in the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- ARGS...]"]


def workload_args(ctx: click.Context) -> tuple[str, ...]:
    """Return what stood behind ``--``."""
    args: tuple[str, ...] = ctx.meta[_KEY]
    return args
