"""Commands that run the service: `ostinato up` for all programs, or `api`, `engine`, `worker` and `migrate` for one."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from app import settings
from app.cli.output import warn

Host = Annotated[
    str | None, typer.Option(help="Address to bind. Without API keys, loopback only.", show_default="127.0.0.1")
]
Port = Annotated[
    int | None,
    typer.Option(
        min=0, max=65535, help="Port of the API; 0 chooses a free port.", show_default="OSTINATO_PORT, or 8000"
    ),
]
MOST_ENGINES = 1000
DataDir = Annotated[
    str | None,
    typer.Option(
        "--data-dir", help="Folder for all data of the service.", show_default="OSTINATO_DATA_DIR, or ./ostinato-data"
    ),
]
PASS_ARGUMENTS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def load_shown(data_dir: str | None, *, quiet: bool = False) -> settings.Settings:
    """Load the settings. Without --data-dir, prints the data folder to standard error, unless `quiet` is true."""
    chosen = settings.load(data_dir=data_dir)
    if data_dir is None and not quiet:
        warn(f"data folder: {chosen.data}")
    return chosen


def register(program: typer.Typer) -> None:
    program.command()(up)
    program.command()(api)
    program.command(context_settings=PASS_ARGUMENTS_ON)(engine)
    program.command(context_settings=PASS_ARGUMENTS_ON)(worker)
    program.command()(migrate)


def up(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="If the registry is empty, train six small demo models.")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Do not start this program: engine, api or worker. May be given several times."),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="At a terminal, print every log line, including those of requests.")
    ] = False,
) -> None:
    """Start the whole service on this machine: API, engine and worker."""
    from app.launcher import launcher

    chosen = settings.load(host=host, port=port, data_dir=data_dir)
    raise typer.Exit(launcher.start_up(chosen, demo=demo, without=without or [], verbose=verbose))


def api(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Run one API process."""
    from app.binding import check_bind

    chosen = settings.load(host=host, port=port, data_dir=data_dir)
    check_bind(chosen)
    become("app.api", chosen)


def engine(
    context: typer.Context,
    data_dir: DataDir = None,
    number: Annotated[
        int, typer.Option(min=0, max=MOST_ENGINES - 1, help="Number of this engine, if several share the data folder.")
    ] = 0,
) -> None:
    """Run one engine process. Further arguments are passed on to `python -m app.engine`."""
    chosen = settings.load(data_dir=data_dir)
    become("app.engine", chosen, "--socket", str(chosen.socket_dir / f"engine-{number}.sock"), *context.args)


def worker(context: typer.Context, data_dir: DataDir = None) -> None:
    """Run one worker, which executes jobs from the database.

    Further arguments are passed on to `python -m app.worker`.
    """
    become("app.worker", settings.load(data_dir=data_dir), *context.args)


def migrate(
    data_dir: DataDir = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing on success.")] = False,
) -> None:
    """Create the database's tables, or upgrade them to this release. Can be called at any time, even concurrently."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.db.database import Database, DatabaseUnavailable, reason
    from app.errors import InvalidRequest, Unavailable

    chosen = load_shown(data_dir, quiet=quiet)
    try:
        chosen.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot create {chosen.data}: {error.strerror}; choose another folder with --data-dir"
        raise InvalidRequest(message) from None
    try:
        Database(chosen.database).migrate()
    except (SQLAlchemyError, DatabaseUnavailable) as error:
        message = f"the database cannot be prepared: {reason(error)}; check OSTINATO_DATABASE_URL"
        raise Unavailable(message) from None
    if not quiet:
        print("the database is up to date")


def become(module: str, chosen: settings.Settings, *arguments: str) -> None:
    """Replace this process with the program `module`, passing it the settings `chosen`. Does not return."""
    from app.launcher.plan import child_environment
    from app.launcher.preparation import prepare_folders

    prepare_folders(chosen)
    environment = child_environment(chosen, os.environ)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment)
