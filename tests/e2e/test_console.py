"""The console with the whole service: from the upload of a file to a version that clients use."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from benchmarks.service import Service
from tests.clients.browser import PATIENCE, chromium, visit

MINUTES = 20 * 60_000.0


@pytest.mark.e2e
def test_a_person_trains_tries_and_promotes_a_model_with_the_page_alone(service: Service, reviews: Path) -> None:
    expect.set_options(timeout=MINUTES)  # a busy machine trains slowly
    with chromium() as browser, visit(browser, service.url) as visitor:
        page = visitor.open("train")
        page.get_by_label("Choose a data file").set_input_files(reviews)
        page.get_by_label("Architecture").select_option("linear")
        page.get_by_label("Name", exact=True).fill("pages")
        expect(page.get_by_role("heading", name="Rows of each label")).to_be_visible()
        expect(page.get_by_role("heading", name="Lengths in")).to_be_visible()
        page.get_by_role("button", name="Start training").click()
        expect(page.get_by_text("Published as")).to_be_visible()
        expect(page.locator(".legend").first).to_contain_text("Training loss")
        page.get_by_role("link", name="pages:1").click()
        expect(page.get_by_role("heading", name="Confusions", exact=True)).to_be_visible()
        page.get_by_role("link", name="Try it", exact=True).click()
        page.get_by_label("Texts", exact=True).fill("a wonderful lovely day")
        page.get_by_role("button", name="Classify").click()
        expect(page.locator(".bars .marked .name")).to_have_text("good")
        visitor.open("models/pages")
        page.get_by_role("button", name="Promote").click()
        expect(page.get_by_text("points to version 1", exact=True)).to_be_visible()
    expect.set_options(timeout=PATIENCE)
    assert httpx.get(f"{service.url}/v1/registry/models/pages").json()["aliases"] == {"champion": 1}
