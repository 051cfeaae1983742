"""Fixtures for all tests: both databases, blobs, registry, files. PostgreSQL runs as a temporary cluster."""

from __future__ import annotations

import gc
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from app.db.database import Database
from app.files.service import Files
from app.registry.service import Registry
from app.storage.blobs import BlobStore
from benchmarks.postgres import Cluster, Missing, cluster

pytest_plugins = ("tests.api.fixtures", "tests.jobs.fixtures")
os.environ.setdefault("OMP_NUM_THREADS", "1")
for variable in list(os.environ):
    if variable.startswith(("OSTINATO_", "AZURE_")):  # settings of a service on this machine
        del os.environ[variable]
# Tests compare answers with those of float32, and must not depend on the fastest type and kernel of this machine.
os.environ["OSTINATO_DTYPE"] = "float32"
for variable in ("NO_PROXY", "no_proxy"):
    os.environ[variable] = "127.0.0.1,localhost,::1"
TEMPLATE = "ostinato_template"
gc.disable()  # until the tests are collected

# `make test` draws the same examples every time; `make test ARGS=--hypothesis-profile=search` draws new ones
settings.register_profile("repeat", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile("repeat")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole-readme", action="store_true", help="also type the README in a fresh clone, `make run` included"
    )


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a case that consists of bytes after its argument, because compressed bytes may contain the time."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long test files first, beginning with the longest one, so that no process starts a long file near the end."""
    long = {id(item) for item in items if any(item.get_closest_marker(marker) for marker in ("e2e", "long"))}
    items.sort(key=lambda item: (item.path.name != "test_readme.py", id(item) not in long))


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collections, which are off until here: together they took 9 seconds."""
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers() -> int:
    """Use one process more than there are cores, because many tests wait for other programs and for timers."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def whole_readme(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--whole-readme"))


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A running PostgreSQL server. A test that stops the server must start it again."""
    try:
        with cluster() as server:
            server.execute(f"CREATE DATABASE {TEMPLATE}")
            template = Database(server.url(TEMPLATE))
            template.migrate()
            template.close()
            yield server
    except Missing as reason:
        pytest.skip(str(reason))


@pytest.fixture
def postgres_url(postgres_cluster: Cluster) -> Iterator[str]:
    """The URL of an empty database with all tables."""
    name = f"test_{uuid.uuid4().hex}"
    postgres_cluster.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield postgres_cluster.url(name)
    postgres_cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[Database]:
    """An empty database on PostgreSQL, for tests with several writers at a time, which SQLite does not support."""
    database = Database(postgres_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA query_only = OFF")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, _sqlite_template: Path) -> str:
    """The URL of an empty database with all tables."""
    shutil.copy(_sqlite_template, tmp_path / "ostinato.db")
    return f"sqlite:///{tmp_path / 'ostinato.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database. A test that uses it runs once with SQLite and once with PostgreSQL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore((tmp_path / "blobs").as_uri())


@pytest.fixture
def registry(database: Database, blobs: BlobStore, tmp_path: Path) -> Registry:
    return Registry(database, blobs, tmp_path / "scratch")


@pytest.fixture
def files(database: Database, blobs: BlobStore) -> Files:
    return Files(database, blobs)
