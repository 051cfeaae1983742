"""`ostinato doctor`: is this machine, this configuration, this service in order? Looks only; mends nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from app import settings
from app.cli.output import Json, print_json, size, table
from app.cli.serve import DataDir
from app.errors import OstinatoError

if TYPE_CHECKING:
    from app.settings import Settings

LITTLE_SPACE = 2_000_000_000
LITTLE_MEMORY = 2_000_000_000


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `state`: ok, warning or wrong."""

    what: str
    state: str
    told: str


def register(program: typer.Typer) -> None:
    program.command()(doctor)


def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Check the installation, the settings, the storage and the service; exit status 1 if something is wrong."""
    findings = list(examine(data_dir))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        table(["", "what", "finding"], [(f.state, f.what, f.told) for f in findings])
    if any(f.state == "wrong" for f in findings):
        raise typer.Exit(1)


def examine(data_dir: str | None) -> Iterator[Finding]:
    yield python()
    yield from libraries()
    yield processor()
    yield memory()
    try:
        chosen = settings.load(data_dir=data_dir)
    except OstinatoError as error:
        yield Finding("settings", "wrong", error.message)
        return
    yield Finding("settings", "ok", "readable")
    for what, look in CHECKS:
        try:
            yield look(chosen)
        except OstinatoError as error:
            yield Finding(what, "wrong", error.message)
        except Exception as error:  # whatever is broken is the finding
            yield Finding(what, "wrong", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def python() -> Finding:
    told = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", "ok" if sys.version_info >= (3, 11) else "wrong", told)


def libraries() -> Iterator[Finding]:
    for name in ("torch", "tokenizers", "safetensors", "fastapi", "sqlalchemy", "obstore", "pyzmq"):
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "wrong", "is not installed; run: make venv")


def processor() -> Finding:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        flags = ""
    fast = "amx_bf16" in flags or "avx512_bf16" in flags
    told = f"{settings.cores()} core(s)" + (", with bfloat16: OSTINATO_DTYPE=bfloat16 serves faster" if fast else "")
    return Finding("processor", "ok", told)


def memory() -> Finding:
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return Finding("memory", "ok", "this system does not tell")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Finding("memory", "ok" if total >= LITTLE_MEMORY else "warning", size(total))


def folder(chosen: Settings) -> Finding:
    place = chosen.data
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Finding("data folder", "wrong", f"{place} cannot be written")
    state = "ok" if free >= LITTLE_SPACE else "warning"
    return Finding("data folder", state, f"{chosen.data}, {size(free)} free")


def binding(chosen: Settings) -> Finding:
    from app.binding import check_bind

    check_bind(chosen)
    return Finding("address", "ok", f"{chosen.host}:{chosen.port}, {len(chosen.keys)} key(s)")


def database(chosen: Settings) -> Finding:
    from app.db.database import Database, DatabaseOutdated, DatabaseUnavailable, reason

    if not chosen.database_url and not (chosen.data / "ostinato.db").exists():
        return Finding("database", "ok", "SQLite, made at the first start")
    looked_at = Database(chosen.database)
    try:
        looked_at.check_tables()
    except DatabaseOutdated as error:
        return Finding("database", "wrong", error.message)
    except DatabaseUnavailable as error:
        return Finding("database", "wrong", f"does not answer: {reason(error)}")
    finally:
        looked_at.close()
    return Finding("database", "ok", f"{looked_at.dialect}, with the tables of this release")


def storage(chosen: Settings) -> Finding:
    from app.storage.blobs import BlobStore

    if not chosen.storage_url and not (chosen.data / "blobs").exists():
        return Finding("storage", "ok", "a local folder, made at the first start")
    BlobStore(chosen.storage).exists("0" * 64)
    return Finding("storage", "ok", "answers")


def programs(chosen: Settings) -> Finding:
    from app.launcher.programs import read

    running = read(chosen.run_dir)
    if not running:
        return Finding("programs", "warning", "none runs on this data folder; start them with: ostinato up")
    restarts = sum(p.restarts for p in running)
    state = "warning" if restarts else "ok"
    return Finding("programs", state, ", ".join(p.program for p in running) + f"; {restarts} restart(s)")


def service(chosen: Settings) -> Finding:
    from app.client import Client

    try:
        with Client(chosen.url, chosen.api_key) as client:
            client.get("/readyz")
    except OstinatoError as error:
        return Finding("service", "warning", error.message)
    return Finding("service", "ok", f"{chosen.url} is ready")


CHECKS: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
    ("data folder", folder),
    ("address", binding),
    ("database", database),
    ("storage", storage),
    ("programs", programs),
    ("service", service),
)
