"""The `zhllm` command: the command table as click commands, errors as exit codes.

`zhllm --help` must stay instant, so this module imports click and the standard library only; a
command's own module is imported when that command is asked for.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from zhllm import __version__, ranks
from zhllm.commands import STAGES, TOOLS
from zhllm.errors import ZhllmError


class Commands(click.Group):
    """A group whose listing reads the table and whose commands are made on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Stages in the order of the line, then the tools."""
        return [*STAGES, *TOOLS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The click command of a stage or tool, or None when there is none of that name."""
        if cmd_name in STAGES:
            from zhllm.flags import stage_command

            return stage_command(cmd_name, STAGES[cmd_name])
        if cmd_name in TOOLS:
            command: click.Command = importlib.import_module(f"zhllm.tools.{cmd_name.replace('-', '_')}").command
            return command
        return None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click's, but an unknown command is answered with the nearest known one."""
        if args and args[0] not in STAGES and args[0] not in TOOLS:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f' Did you mean "{close[0]}"?' if close else " See zhllm --help."
            ctx.fail(f'There is no command "{args[0]}".{hint}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Two lists from the table, without importing any command."""
        for title, table in (("Stages (each writes a folder)", STAGES), ("Tools", TOOLS)):
            with formatter.section(title):
                formatter.write_dl(list(table.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="zhllm")
def cli() -> None:
    """Build a private Chinese model from an open base; every hand-over is proved.

    \b
    zhllm run recipes/demo -o runs/demo     the whole line in minutes, on a CPU
    zhllm COMMAND --help                    one stage's inputs, flags and example
    """


def main(args: list[str] | None = None) -> None:
    """Run the command line and leave with the documented exit code."""
    # OpenMP threads spin while they wait for each other; a short spin leaves the core to other processes
    # sooner and was no slower on idle cores. It does not cure two threads on one core. Read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here may reach the network, not even to look a name up
    said = ""
    try:
        code = cli.main(args=args, prog_name="zhllm", standalone_mode=False)
    except click.exceptions.Abort as error:  # what click makes of a KeyboardInterrupt
        code, said = 130, str(error.__cause__ or "") or "interrupted"
    except KeyboardInterrupt:
        code, said = 130, "interrupted"
    except click.ClickException as error:
        code = error.exit_code
        if not ranks.tell_failure(code, error.format_message()):
            error.show()
    except ZhllmError as error:
        code, said = error.exit_code, f"error: {error}"
    if said and not ranks.tell_failure(code, said.removeprefix("error: ")):
        click.echo(said, err=True)
    sys.exit(code if isinstance(code, int) else 0)
