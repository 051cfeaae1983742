"""Commands that work on this machine, without the HTTP service: `ps`, `settings`, `keys`, `fsck` and `registry`."""

from __future__ import annotations

import re
import secrets
import sys
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from app import settings
from app.access import SECRET_SETTINGS
from app.cli.output import Json, duration, print_json, size, table, warn
from app.cli.serve import DataDir, load_shown
from app.errors import InvalidRequest, OstinatoError

if TYPE_CHECKING:
    from app.launcher.programs import Program
    from app.registry.garbage import Report
    from app.registry.service import Registry

KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

registry = typer.Typer(
    help="Maintain the registry's storage. Requires access to the storage and the database.", no_args_is_help=True
)


def register(program: typer.Typer) -> None:
    program.command("ps")(ps)
    program.command("settings")(show_settings)
    program.command("keys")(keys)
    program.command("fsck")(fsck)


def ps(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the programs that run on this machine with this data folder."""
    from app.launcher import programs

    chosen = load_shown(data_dir)
    running = programs.read(chosen.run_dir)
    if as_json:
        print_json(msgspec.to_builtins(running))
        return
    now = time.time()
    rows = [(p.program, p.pid, duration(now - p.started_at), p.restarts, _job_of(p), p.attempt) for p in running]
    columns = ["program", "pid", "up", "restarts", "job", "attempt"]
    empty = f"no programs are running for {chosen.data}; start them with: ostinato up"
    if not chosen.data.exists():
        empty = (
            f"there is no data folder {chosen.data}; start the service there with `ostinato up`, or name another "
            "folder with --data-dir"
        )
    table(columns, rows, empty=empty)


def _job_of(program: Program) -> str:
    """A trainer's job id and, if the job is a trial, the id of its auto job."""
    return f"{program.job} (trial of {program.parent})" if program.parent else program.job or ""


def show_settings(
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page, docs/settings.md.")] = False,
) -> None:
    """List all settings with their variables, current values, meanings and defaults."""
    if markdown:
        print(reference(), end="")
        return
    values = msgspec.structs.asdict(settings.load())
    rows: list[tuple[str, str, str]] = []
    for variable, default, meaning in settings.help_lines():
        name = variable.removeprefix(settings.PREFIX).lower()
        hidden = name in SECRET_SETTINGS and values[name] != ""
        shown = "(set)" if hidden else _format(values[name])
        rows.append((variable, shown, f"{meaning} [{_format(default)}]" if default else meaning))
    if as_json:
        print_json([{"variable": v, "value": value, "meaning": meaning} for v, value, meaning in rows])
    else:
        table(["variable", "value", "meaning"], rows)


def reference() -> str:
    """The text of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Every setting is an environment variable. `ostinato settings` lists all settings with their current values.",
        "If an `OSTINATO_…` variable is unknown or invalid, programs do not start, and the error names the variable.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for variable, default, meaning in settings.help_lines():
        shown = f"`{_format(default)}`" if default else ""
        lines.append(f"| `{variable}` | {shown} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def _format(value: object) -> str:
    return str(value).lower() if str(value) in ("True", "False") else str(value)


def keys(
    name: Annotated[str, typer.Argument(help="Name of the key, which owns everything created with it.")] = "me",
    as_json: Json = False,
) -> None:
    """Print a new API key as name:secret, for OSTINATO_API_KEYS. The key is not stored anywhere.

    To start a service that requires the key: export OSTINATO_API_KEYS="$(ostinato keys me)", then `ostinato up`.

    Clients send only the secret, without `me:`. For the commands, set OSTINATO_API_KEY to the secret.
    """
    if not KEY_NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} is not a valid key name: a name has up to 64 letters, digits, dots, dashes and "
            "underscores, and begins with a letter or digit"
        )
    secret = secrets.token_urlsafe(32)
    if as_json:
        print_json({"name": name, "secret": secret, "key": f"{name}:{secret}"})
    else:
        print(f"{name}:{secret}")
        if sys.stdout.isatty():
            warn("the service needs this line as OSTINATO_API_KEYS; clients need the part after the colon")


def fsck(
    data_dir: DataDir = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only check that blobs exist, without hashing them.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair database rows with values that JSON cannot represent.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the hash of every blob and the version of every alias, and search the database for values that JSON cannot
    represent. Exits with status 1 if a check fails."""
    report = _registry(data_dir).fsck(deep=not quick, mend=repair)
    if as_json:
        print_json({"ok": report.ok, **msgspec.to_builtins(report)})
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(1)


def _print_report(report: Report) -> None:
    for fault, blobs in (("missing", report.missing), ("corrupt", report.corrupt)):
        for sha256, needed_by in blobs.items():
            print(f"{fault} {sha256}: needed by {', '.join(needed_by)}")
    for alias in report.dangling_aliases:
        print(f"alias without a version: {alias}")
    for row in report.mended:
        print(f"repaired {row}")
    for row in report.damaged:
        print(f"damaged {row}: repair the row with --repair")
    orphans = f", {report.orphans} of them unused ({size(report.orphan_bytes)})" if report.orphans else ""
    print(f"{'the registry is intact' if report.ok else 'the registry is damaged'}: {report.blobs} blobs{orphans}")


registry.command("fsck")(fsck)


@registry.command("gc")
def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the blobs, without deleting them.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Delete the blobs that no version, file or job needs and whose grace period is over."""
    collected = _registry(data_dir).collect_garbage(dry_run=dry_run)
    if as_json:
        print_json(msgspec.to_builtins(collected))
    else:
        verb = "would be deleted" if dry_run else "deleted"
        print(f"{collected.blobs} blobs ({size(collected.bytes)}) {verb}, {collected.kept} kept")


def _registry(data_dir: str | None) -> Registry:
    from app.db.database import Database
    from app.registry.service import Registry
    from app.storage.blobs import BlobStore

    chosen = load_shown(data_dir)
    if not chosen.database_url and not (chosen.data / "ostinato.db").exists():
        raise OstinatoError(f"there is no registry in {chosen.data}; set the data folder with --data-dir")
    database, blobs = Database(chosen.database), BlobStore(chosen.storage, chosen.scratch_dir)
    return Registry(database, blobs, chosen.scratch_dir, grace_seconds=chosen.delete_grace_seconds)
