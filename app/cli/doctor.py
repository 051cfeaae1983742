"""`ostinato doctor`: checks this machine, the settings and the service, without changing anything."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from app import settings
from app.cli.output import Json, located, print_json, size, table
from app.cli.serve import DataDir
from app.errors import OstinatoError
from app.wording import quantity

if TYPE_CHECKING:
    from app.settings import Settings

LOW_DISK_SPACE = 2_000_000_000  # bytes
LOW_MEMORY = 2_000_000_000


@dataclass(frozen=True)
class Finding:
    """The result of one check. `state` is ok, warning or wrong."""

    check: str
    state: str
    detail: str


def register(program: typer.Typer) -> None:
    program.command()(doctor)


def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Check the installation, the settings, the storage and the service. Exits with status 1 if something is wrong."""
    findings = list(examine(data_dir))
    if as_json:
        print_json([{"what": f.check, "state": f.state, "told": f.detail} for f in findings])
    else:
        table(["state", "check", "finding"], [(f.state, f.check, f.detail) for f in findings])
    if any(f.state == "wrong" for f in findings):
        raise typer.Exit(1)


def examine(data_dir: str | None) -> Iterator[Finding]:
    """Run all checks. If the settings are invalid, the checks that need them are skipped."""
    yield check_python()
    yield from check_libraries()
    yield check_processor()
    yield check_memory()
    try:
        chosen = settings.load(data_dir=data_dir)
    except OstinatoError as error:
        yield Finding("settings", "wrong", error.message)
        return
    yield Finding("settings", "ok", "readable")
    for name, check in CHECKS:
        try:
            yield check(chosen)
        except OstinatoError as error:
            yield Finding(name, "wrong", error.message)
        except Exception as error:  # every failure of a check is reported as a finding
            yield Finding(name, "wrong", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def check_python() -> Finding:
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", "ok" if sys.version_info >= (3, 11) else "wrong", detail)


def check_libraries() -> Iterator[Finding]:
    for name in ("torch", "tokenizers", "safetensors", "fastapi", "sqlalchemy", "obstore", "pyzmq"):
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "wrong", "not installed; run: make venv")


def check_processor() -> Finding:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        flags = ""
    bfloat16 = "amx_bf16" in flags or "avx512_bf16" in flags
    hint = ", with bfloat16 instructions" if bfloat16 else ""
    return Finding("processor", "ok", quantity(settings.cores(), "core") + hint)


def check_memory() -> Finding:
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return Finding("memory", "ok", "this system does not report the size of its memory")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Finding("memory", "ok" if total >= LOW_MEMORY else "warning", size(total))


def check_data_folder(chosen: Settings) -> Finding:
    existing = chosen.data
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if not existing.is_dir():
        return Finding("data folder", "wrong", f"{existing} is not a folder")
    if not os.access(existing, os.W_OK):
        return Finding("data folder", "wrong", f"{existing} is not writable")
    state = "ok" if free >= LOW_DISK_SPACE else "warning"
    return Finding("data folder", state, f"{chosen.data}, {size(free)} free")


def check_address(chosen: Settings) -> Finding:
    from app.binding import check_bind

    check_bind(chosen)
    return Finding("address", "ok", f"{chosen.host}:{chosen.port}, {quantity(len(chosen.keys), 'key')}")


def check_database(chosen: Settings) -> Finding:
    from app.db.database import Database, DatabaseOutdated, DatabaseUnavailable, reason

    if not chosen.database_url and not (chosen.data / "ostinato.db").exists():
        return Finding("database", "ok", "a SQLite database, which will be created on the first start")
    database = Database(chosen.database)
    try:
        database.check_tables()
    except DatabaseOutdated as error:
        return Finding("database", "wrong", error.message)
    except DatabaseUnavailable as error:
        return Finding("database", "wrong", f"does not respond: {reason(error)}")
    finally:
        database.close()
    return Finding("database", "ok", f"{database.dialect}, with the tables of this release")


def check_storage(chosen: Settings) -> Finding:
    from app.storage.blobs import BlobStore

    if not chosen.storage_url and not (chosen.data / "blobs").exists():
        return Finding("storage", "ok", "a local folder, which will be created on the first start")
    BlobStore(chosen.storage).exists("0" * 64)
    return Finding("storage", "ok", "answers")


def check_programs(chosen: Settings) -> Finding:
    from app.launcher.programs import read

    running = read(chosen.run_dir)
    if not running:
        return Finding(
            "programs", "warning", "no programs are running for this data folder; start them with: ostinato up"
        )
    restarts = sum(p.restarts for p in running)
    state = "warning" if restarts else "ok"
    return Finding("programs", state, ", ".join(p.program for p in running) + f"; {quantity(restarts, 'restart')}")


def check_service(chosen: Settings) -> Finding:
    from app.client import Client

    try:
        with Client.of(located(chosen)) as client:
            client.get("/readyz")
    except OstinatoError as error:
        return Finding("service", "warning", error.message)
    return Finding("service", "ok", f"{client.url} is ready")


CHECKS: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
    ("data folder", check_data_folder),
    ("address", check_address),
    ("database", check_database),
    ("storage", check_storage),
    ("programs", check_programs),
    ("service", check_service),
)
