"""A served API over fake engines or a real one: fixtures of every test that speaks HTTP."""

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
    found = Shelf(settings, tmp_path)
    yield found
    found.close()


@pytest.fixture
def engine(settings: Settings) -> Iterator[FakeEngine]:
    with engine_of(settings) as found:
        yield found


@pytest.fixture
def api(settings: Settings, engine: FakeEngine) -> Iterator[Api]:
    with Api(settings) as found:
        found.wait_ready()
        yield found


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Iterator[Real]:
    """One real engine with its API for all tests that compare replies with what a network says."""
    from tests.api.real import running

    with running(tmp_path_factory.mktemp("real"), _sqlite_template) as found:
        yield found
