"""`ostinato`: the command line.

Assembles the commands, and prints every expected error as one line. Each command imports its dependencies when it is
called, so that the command line starts quickly.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from app import disk_errors, settings
from app.cli import (
    batches,
    chat,
    doctor,
    embed,
    evaluate,
    export,
    files,
    imports,
    inference,
    jobs,
    local,
    models,
    serve,
    top,
    train,
    webhooks,
)
from app.cli.descriptions import FIRST_STEPS, describe
from app.cli.output import connect
from app.cli.streams import finish_output, give_up_output, prepare_output, read_arguments, shown
from app.cli.unknown_options import suggest
from app.cli.wording import in_own_words, leading_option, option_for, usage_in_own_words
from app.errors import InvalidRequest, OstinatoError, did_you_mean
from app.settings import REFUSED, SettingError

INTERRUPTED = 130  # the exit status that shells report for a command ended by SIGINT: 128 + 2

program = typer.Typer(
    name="ostinato",
    help="Train, register and serve sequence models: linear, RNN, LSTM, GRU and Transformer.",
    epilog=FIRST_STEPS,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (serve, top, local, doctor, train, evaluate, inference, embed, chat, imports, export):
    module.register(program)
program.add_typer(models.models, name="models")
program.add_typer(jobs.jobs, name="jobs")
program.add_typer(files.files, name="files")
program.add_typer(batches.batches, name="batches")
program.add_typer(webhooks.webhooks, name="webhooks")
program.add_typer(local.registry, name="registry")
describe(program)


UsageError: Any = typer.BadParameter.__mro__[1]  # the class from the Click package that this release of typer uses


def print_version(value: bool) -> None:
    if value:
        print(f"ostinato {importlib.metadata.version('ostinato')}")
        raise typer.Exit


@program.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line.

    The exit status is 2 if the arguments or settings are invalid (a restart would then fail too), 130 after Ctrl+C, and
    1 after any other error.
    """
    prepare_output()
    try:
        run()
    finally:
        finish_output()


def run() -> NoReturn:
    """Run the command line without flushing its output, and exit."""
    arguments: list[str] = []
    try:
        arguments = read_arguments(sys.argv[1:])
        sys.exit(program(arguments, prog_name="ostinato", standalone_mode=False))
    except UsageError as error:
        refuse(error)
    except OstinatoError as error:
        fail(error, REFUSED if isinstance(error, SettingError) else 1, arguments)
    except typer.Abort:  # the user did not confirm
        print("ostinato: nothing was done", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        refuse_access(error)
    except Exception as error:
        report(error)


def refuse_access(error: OSError) -> NoReturn:
    """Print an operating system error that concerns a file or standard output, and exit."""
    if error.filename is not None:
        fail(InvalidRequest(f"cannot access {shown(os.fsdecode(error.filename))}: {error.strerror}"), 1, ())
    if isinstance(error, BrokenPipeError) or disk_errors.awaited(error):
        give_up_output(error)
    report(error)


def refuse(error: Any) -> NoReturn:
    """Print a usage error and exit. For an unknown option, the message suggests what to write instead."""
    message = usage_in_own_words(error.format_message())
    if not message or type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(error.exit_code)
    context = error.ctx
    option = getattr(error, "option_name", None)
    if option and context:
        message = f"no such option: {option}{suggest(option, context)}"
    print(f"ostinato: {message[:1].lower()}{message[1:]}", file=sys.stderr)
    if context:
        print(f"`{context.command_path} --help` describes the command", file=sys.stderr)
    sys.exit(error.exit_code)


def report(error: Exception) -> NoReturn:
    """Print an unexpected error, which is a bug in this program or in the service, and exit."""
    if _is_debugging():
        traceback.print_exception(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno}"
    print(f"ostinato: unexpected error at {place}: {type(error).__name__}: {error}", file=sys.stderr)
    print("OSTINATO_LOG_LEVEL=debug shows the traceback; please report this error", file=sys.stderr)
    sys.exit(1)


def _is_debugging() -> bool:
    try:
        return settings.load().log_level == "debug"
    except SettingError:
        return False


def options_of(arguments: Sequence[str]) -> set[str]:
    """Return the options of the command that `arguments` invoke. Error messages may mention only these options.

    Messages about jobs may also mention the options of `train`, because `train` creates the jobs.
    """
    command: Any = typer.main.get_command(program)
    commands = [command]
    for word in arguments:
        command = getattr(command, "commands", {}).get(word, command)
        commands += [command] if command is not commands[-1] else []
    if any(command.name == "jobs" for command in commands):
        commands.append(commands[0].commands["train"])
    parameters = [parameter for command in commands[1:] for parameter in command.params]
    return {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}


def fail(error: OstinatoError, status: int, arguments: Sequence[str]) -> NoReturn:
    """Print the error and exit with `status`.

    If the message does not name the option that caused the error, the option is put in front of it.
    """
    options = options_of(arguments)
    message = leading_option(error.message, error.param or "", options)
    message, option = in_own_words(message, options), option_for(error.param or "", options)
    where = f"{option}: " if option and option not in message else ""
    print(f"ostinato: {where}{message}{similar_model(error)}", file=sys.stderr)
    sys.exit(status)


def similar_model(error: OstinatoError) -> str:
    """Return a suggestion for a model that the service could not find, or "" if there is none."""
    quoted = re.match(r"model not found: '([^']*)'", error.message)
    if quoted is None or "did you mean" in error.message:
        return ""
    try:
        with connect() as client:
            names = [item["id"] for item in client.get("/v1/models").get("data", [])]
    except OstinatoError:
        return ""
    return did_you_mean(quoted[1], names)


if __name__ == "__main__":
    main()
