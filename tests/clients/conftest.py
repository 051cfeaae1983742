"""A browser, and services that it can visit, for the tests of the console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.clients.browser import Visit, chromium, visit
from tests.clients.showroom import Showroom, showroom
from tests.serving import Api


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def console(browser: Browser, api: Api) -> Iterator[Visit]:
    """A browser tab at the console of a service that no other test uses."""
    with visit(browser, api.url) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Iterator[Showroom]:
    """A service with ready versions, which all tests of a file share."""
    with showroom(tmp_path_factory.mktemp("showroom"), _sqlite_template) as running:
        yield running


@pytest.fixture
def page(browser: Browser, room: Showroom) -> Iterator[Page]:
    """A browser tab at `room`, for tests without a page of their own."""
    with visit(browser, room.url) as visitor:
        yield visitor.page
