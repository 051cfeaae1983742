"""`ostinato`: the command line.

Assembles the commands and prints every expected failure as one line. Each command imports what it needs when it is
called, so that the command line starts fast.
"""

from __future__ import annotations

import os
import sys

import typer

from app.cli import doctor, export, files, imports, inference, jobs, local, models, serve, train
from app.cli.wording import in_own_words, option_for
from app.errors import OstinatoError
from app.settings import REFUSED, SettingError

INTERRUPTED = 130  # what a shell reports for a command that SIGINT ended: 128 + 2

program = typer.Typer(
    name="ostinato",
    help="Train, register and serve sequence models: RNN, LSTM, GRU and Transformer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (serve, local, doctor, train, inference, imports, export):
    module.register(program)
program.add_typer(models.models, name="models")
program.add_typer(jobs.jobs, name="jobs")
program.add_typer(files.files, name="files")
program.add_typer(local.registry, name="registry")


def main() -> None:
    """Run the command line. Exit status 2: the settings are invalid, so a restart would fail too; 1: other errors."""
    try:
        program()
    except SettingError as error:
        fail(error, REFUSED)
    except OstinatoError as error:
        fail(error, 1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader closed the pipe early, as in `ostinato … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def fail(error: OstinatoError, status: int) -> None:
    """Print the error in the command line's own words, with its option where the message does not name it, and exit."""
    message, option = in_own_words(error.message), option_for(error.param or "")
    where = f" (in {option})" if option and option not in message else ""
    print(f"ostinato: {message}{where}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
