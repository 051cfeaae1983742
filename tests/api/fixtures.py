"""Fixtures for a running API with fake engines or a real engine. A plugin of `tests/conftest.py`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.settings import Settings
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, engine_of, settings_in

if TYPE_CHECKING:  # torch takes seconds to import, and most tests here need none
    from tests.api.real import Real


@pytest.fixture
def data_dir(tmp_path: Path, _sqlite_template: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(_sqlite_template, folder / "ostinato.db")
    return folder


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return settings_in(data_dir)


@pytest.fixture
def shelf(settings: Settings, tmp_path: Path) -> Iterator[Shelf]:
    registry = Shelf(settings, tmp_path)
    yield registry
    registry.close()


@pytest.fixture
def engine(settings: Settings) -> Iterator[FakeEngine]:
    with engine_of(settings) as fake:
        yield fake


@pytest.fixture
def api(settings: Settings, engine: FakeEngine) -> Iterator[Api]:
    with Api(settings) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Iterator[Real]:
    """An API with a real engine, shared by all tests that compare replies with a network's output."""
    from tests.api.real import running

    with running(tmp_path_factory.mktemp("real"), _sqlite_template) as service:
        yield service
