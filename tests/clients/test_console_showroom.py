"""The pages of a version and of models in a real browser, with one shared service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.clients.browser import PATIENCE, chromium, serious_problems, visit
from tests.clients.showroom import EVIL, ROWS_SHA, Showroom, showroom

expect.set_options(timeout=PATIENCE)
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Iterator[Showroom]:
    with showroom(tmp_path_factory.mktemp("showroom"), _sqlite_template) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, room: Showroom) -> Iterator[Page]:
    with visit(browser, room.url) as visitor:
        yield visitor.page


def card(page: Page, name: str) -> str:
    """The text of a card."""
    return page.get_by_role("region", name=name, exact=True).inner_text().replace("\u202f", " ")


def test_a_version_shows_its_settings_data_and_card(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/models/mood/1")
    expect(page.get_by_role("img", name="Calibration: says 60")).to_be_visible()
    expect(page.get_by_role("heading", name="Lengths in tokens")).to_be_visible()
    expect(page.get_by_role("img", name="Lengths: from 1 to 16 tokens")).to_be_visible()
    expect(page.get_by_text(ROWS_SHA)).to_be_visible()  # the whole hash
    page.get_by_text("Training, as requested").click()
    page.get_by_text("Training, as chosen before the first step").click()
    settings = card(page, "Settings")
    assert "Epochs\n4" in settings and "0.0125" in settings and "adamw" in settings
    about = page.get_by_role("region", name="Model card")
    expect(about.get_by_role("heading", name="LSTM for classification")).to_be_visible()
    expect(about.get_by_role("cell", name="140")).to_be_visible()
    expect(about.get_by_text(EVIL)).to_be_visible()
    assert page.locator("main img:not([alt=''])").count() == 0
    page.get_by_role("row", name="training.json").get_by_role("button", name="Read").click()
    expect(page.locator(".output", has_text='"optimizer"')).to_be_visible()
    lineage = page.get_by_role("region", name="Lineage")
    lineage.get_by_role("link", name=room.job).click()
    expect(page.get_by_role("heading", name="mood", exact=True)).to_be_visible()


def test_a_cell_of_the_confusions_leads_to_examples(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/models/mood/1")
    page.get_by_role("button", name="positive answered as neutral: 23 rows").click()
    examples = page.get_by_role("region", name="Examples", exact=True)
    examples.get_by_role("button", name="Evaluate on its held-out rows").click()
    expect(examples.get_by_text("waiting for a worker")).to_be_visible()
    room.finish_evaluation()
    expect(examples.get_by_role("cell", name="so so")).to_be_visible()
    expect(page.get_by_role("region", name="Worst mistakes", exact=True).first).to_contain_text(f"so so {EVIL}")
    page.get_by_role("link", name="the newest evaluation").click()
    expect(page.get_by_text("Measured on the test rows of the file.")).to_be_visible()
    assert serious_problems(page) == []
    page.goto(f"{room.url}/#/models/mood/2")  # its file is not known
    page.get_by_role("button", name="positive answered as neutral: 23 rows").click()
    expect(examples.get_by_label("File")).to_be_visible()
    expect(examples.get_by_role("button", name="Evaluate on its held-out rows")).to_have_count(0)
    assert page.evaluate("window.hacked") is None
