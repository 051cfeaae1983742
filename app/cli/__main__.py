"""`ostinato`: the command line. Joins the commands and turns every failure into one plain line.

Knows no command's work: each lives in `app/commands/`, and loads what it needs when it is called, so that the command
line starts fast.
"""

from __future__ import annotations

import os
import sys

import typer

from app.cli import doctor, files, inference, jobs, local, registry, serve, train, transfer
from app.errors import OstinatoError
from app.settings import REFUSED, SettingError

INTERRUPTED = 130

program = typer.Typer(
    name="ostinato",
    help="Train, register and serve sequence models: RNN, LSTM, GRU and Transformer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (serve, local, doctor, train, inference, transfer):
    module.register(program)
program.add_typer(registry.models, name="models")
program.add_typer(jobs.jobs, name="jobs")
program.add_typer(files.files, name="files")
program.add_typer(local.registry, name="registry")


def main() -> None:
    try:
        program()
    except SettingError as error:
        fail(error, REFUSED)
    except OstinatoError as error:
        fail(error, 1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `ostinato … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def fail(error: OstinatoError, status: int) -> None:
    where = f" (in {error.param})" if error.param and error.param not in error.message else ""
    print(f"ostinato: {error.message}{where}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
