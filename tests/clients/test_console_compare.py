"""The view Compare: the rows on which versions are tested, and what a test on training rows is worth."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.clients.browser import PATIENCE, visit
from tests.clients.showroom import REPORT, TRAINED_ON, Showroom

COMPARISON = {"metric": "accuracy", "model": 0.99, "against": 0.97, "test": "McNemar", "p": 0.001, "summary": "a test"}
expect.set_options(timeout=PATIENCE)
pytestmark = pytest.mark.long


def test_versions_with_the_same_held_out_rows_are_tested_on_them(page: Page, room: Showroom) -> None:
    """A result on training rows is not a verdict, and does not replace a test on the held-out rows."""
    page.goto(f"{room.url}/#/compare?versions=mood:1,mood:2")
    start = page.get_by_role("button", name="Test on the same rows")
    rows = page.get_by_label("Rows", exact=True)
    better = page.get_by_role("region", name="Metrics of each version").get_by_role("row", name="Test · accuracy")
    result = page.get_by_role("region", name="Paired tests").get_by_role("row", name="mood:2")
    expect(rows).to_have_value("held-out")
    expect(page.get_by_text("The rows of a.csv that the versions were not trained on.")).to_be_visible()
    rows.select_option(index=2)
    start.click()
    room.finish_evaluation(REPORT | {"comparison": COMPARISON, "warnings": [TRAINED_ON]})
    expect(result).to_contain_text(
        "mood:1 was trained on these rows, so the result does not show which version is better on new data. "
        "Accuracy: 99.0\u202f% (mood:1) and 97.0\u202f% (mood:2)."
    )
    expect(result).not_to_contain_text("unlikely to be due to chance")
    expect(better).to_contain_text("highest, not tested")
    rows.select_option("held-out")
    with page.expect_request("**/v1/evaluations") as sent:
        start.click()
    assert sent.value.post_data_json.items() >= {"encoding": "utf-8", "skip_bad_rows": 0.1, "against": "mood:2"}.items()
    room.finish_evaluation(REPORT | {"comparison": COMPARISON})
    expect(result).to_contain_text("mood:1 is better than mood:2: accuracy 99.0")
    expect(better.get_by_text("highest", exact=True)).to_be_visible()
    page.reload()
    expect(better.get_by_text("highest", exact=True)).to_be_visible()


def test_versions_with_other_held_out_rows_are_tested_on_files_only(page: Page, room: Showroom) -> None:
    metrics = {"test": REPORT["metrics"] | {"rows_sha256": "0a" * 32}}
    other = room.shelf.classifier("moved", metrics=metrics)
    page.goto(f"{room.url}/#/compare?versions=mood:1,{other.ref}")
    rows = page.get_by_label("Rows", exact=True)
    expect(rows.get_by_text("training file of mood:1")).to_be_attached()
    expect(rows.get_by_text("held-out")).to_have_count(0)


def test_a_text_generator_is_evaluated_on_a_text_by_default(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/models/echo/1")
    rows = page.get_by_label("Rows", exact=True)
    expect(rows).to_have_value("")  # the only file is a table
    with room.api.client() as client:
        file = client.post("/v1/files", files={"file": ("book.txt", b"once\n")}, data={"purpose": "fine-tune"}).json()
        client.post("/v1/files", files={"file": ("b.csv", b"text,label\na,b\n")}, data={"purpose": "fine-tune"})
    page.reload()
    expect(rows).to_have_value(file["id"])


def test_the_probability_of_a_token_is_visible_on_a_narrow_screen(browser: Browser, room: Showroom) -> None:
    room.engine.hold_after = 4
    with visit(browser, room.url, width=380) as visitor:
        page = visitor.open("play?model=echo")
        page.get_by_label("Prompt").fill("once upon a time")
        page.get_by_role("button", name="Generate").click()
        expect(page.locator(".output .token")).to_have_count(4)
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_text("· stopped").first).to_be_visible()
        room.engine.release()
        first = page.locator(".output .token").first
        page.evaluate("document.querySelector('.output').style.minHeight = '1800px'")
        first.evaluate("(token) => token.scrollIntoView({block: 'start'})")
        first.click()
        expect(page.locator(".chance")).to_be_in_viewport()
        expect(page.locator(".chance")).to_contain_text("%")
