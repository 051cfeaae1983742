"""A temporary PostgreSQL server for tests and acceptance runs.

Uses the PostgreSQL programs installed on the machine.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from app.db.database import url_of


class Missing(RuntimeError):
    """PostgreSQL is not installed on this machine."""


class Cluster:
    """A PostgreSQL server in its own folder, with a UNIX socket instead of a port."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self.folder = programs, folder
        self._user = _unprivileged() if os.getuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)
        self.run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")

    def run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            user=self._user,
            extra_groups=[] if self._user is not None else None,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {(done.stdout or b'').decode()}")

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c max_connections=200"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-t", "60", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", mode, "stop")

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def execute(self, *statements: str) -> None:
        """Run statements outside of transactions, as CREATE DATABASE requires."""
        engine = create_engine(url_of(self.url("postgres")), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()


def _unprivileged() -> str:
    """Return the user to run the server as. PostgreSQL refuses to run as root, but the tests may run as root."""
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, from the PATH or from where Debian installs them."""
    initdb = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return Path(initdb).parent if initdb else next((p for p in folders if (p / "initdb").exists()), None)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run a server in a temporary folder. Raises Missing if PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        raise Missing("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # the path of a UNIX socket must be short
    folder = Path(tempfile.mkdtemp(prefix="ostinato-pg-", dir="/tmp"))
    try:
        server = Cluster(programs, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
