"""Commands about this machine: `ps`, `settings`, `keys`, `fsck` and `registry`. They ask no HTTP service."""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from app import settings
from app.cli.output import Json, duration, print_json, size, table
from app.cli.serve import DataDir
from app.errors import InvalidRequest, OstinatoError

if TYPE_CHECKING:
    from app.registry.garbage import Report
    from app.registry.service import Registry

KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SECRET = ("api_keys", "api_key", "database_url", "storage_url")

registry = typer.Typer(help="Look after the registry's storage, on the machine that holds it.", no_args_is_help=True)


def register(program: typer.Typer) -> None:
    program.command("ps")(ps)
    program.command("settings")(show_settings)
    program.command("keys")(keys)
    program.command("fsck")(fsck)


def ps(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the running programs of this machine's service."""
    from app.launcher import programs

    running = programs.read(settings.load(data_dir=data_dir).run_dir)
    if as_json:
        print_json(msgspec.to_builtins(running))
        return
    now = time.time()
    rows = [(p.program, p.pid, duration(now - p.started_at), p.restarts, p.job, p.attempt) for p in running]
    table(["program", "pid", "up", "restarts", "job", "attempt"], rows, empty="nothing runs; start with: ostinato up")


def show_settings(
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page.")] = False,
) -> None:
    """List every setting: its variable, its value now and its meaning."""
    if markdown:
        print(reference(), end="")
        return
    values = msgspec.structs.asdict(settings.load())
    rows: list[tuple[str, str, str]] = []
    for variable, default, meaning in settings.help_lines():
        name = variable.removeprefix(settings.PREFIX).lower()
        hidden = name in SECRET and values[name] != ""
        rows.append((variable, "(set)" if hidden else _shown(values[name]), _sentence(meaning, default)))
    if as_json:
        print_json([{"variable": v, "value": value, "meaning": meaning} for v, value, meaning in rows])
    else:
        table(["variable", "value", "meaning"], rows)


def reference() -> str:
    """docs/settings.md"""
    lines = [
        "# Settings",
        "",
        "Every setting is an environment variable. `ostinato settings` lists them with their present values;",
        "an unknown `OSTINATO_…` variable or an impossible value stops the start with a plain message.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for variable, default, meaning in settings.help_lines():
        shown = f"`{_shown(default)}`" if default else ""
        lines.append(f"| `{variable}` | {shown} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    return str(value).lower() if str(value) in ("True", "False") else str(value)


def _sentence(meaning: str, default: str) -> str:
    return f"{meaning} [{_shown(default)}]" if default else meaning


def keys(name: Annotated[str, typer.Argument(help="Who the key is for: the owner of what is made with it.")] = "me",
         as_json: Json = False) -> None:  # fmt: skip
    """Make an API key and print it as `name:secret`; put it into OSTINATO_API_KEYS. Nothing is stored."""
    if not KEY_NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} cannot name a key: letters, digits, dots, dashes and underscores only")
    secret = secrets.token_urlsafe(32)
    if as_json:
        print_json({"name": name, "secret": secret, "key": f"{name}:{secret}"})
    else:
        print(f"{name}:{secret}")


def fsck(
    data_dir: DataDir = None,
    quick: Annotated[bool, typer.Option("--quick", help="Look for missing bytes only; hash none.")] = False,
    as_json: Json = False,
) -> None:
    """Check every stored byte against its hash, and every name against what it names; exit status 1 on a fault."""
    report = _registry(data_dir).fsck(deep=not quick)
    if as_json:
        print_json({"ok": report.ok, **msgspec.to_builtins(report)})
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(1)


def _print_report(report: Report) -> None:
    for fault, found in (("missing", report.missing), ("corrupt", report.corrupt)):
        for sha256, needed_by in found.items():
            print(f"{fault} {sha256}: needed by {', '.join(needed_by)}")
    for alias in report.dangling_aliases:
        print(f"alias without a version: {alias}")
    orphans = f"; {report.orphans} that nothing needs ({size(report.orphan_bytes)})" if report.orphans else ""
    print(f"{'the registry is whole' if report.ok else 'the registry is damaged'}: {report.blobs} blobs{orphans}")


registry.command("fsck")(fsck)


@registry.command("gc")
def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Delete the stored bytes that no version, file or job needs any more, once their grace time is over."""
    collected = _registry(data_dir).collect_garbage(dry_run=dry_run)
    if as_json:
        print_json(msgspec.to_builtins(collected))
    else:
        verb = "would go" if dry_run else "are gone"
        print(f"{collected.blobs} blobs ({size(collected.bytes)}) {verb}, {collected.kept} stay")


def _registry(data_dir: str | None) -> Registry:
    from app.db.database import Database
    from app.registry.service import Registry
    from app.storage.blobs import BlobStore

    chosen = settings.load(data_dir=data_dir)
    if not chosen.database_url and not (chosen.data / "ostinato.db").exists():
        raise OstinatoError(f"there is no registry in {chosen.data}; name its folder with --data-dir")
    database, blobs = Database(chosen.database), BlobStore(chosen.storage)
    return Registry(database, blobs, chosen.scratch_dir, grace_seconds=chosen.delete_grace_seconds)
