"""The page of a version: its confusion matrix, and the threshold that keeps wrong answers below a limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.clients.browser import PATIENCE, serious_problems, visit
from tests.serving import Api, Shelf

LABELS = ("negative", "neutral", "positive")
MATRIX = [[25, 3, 17], [14, 20, 1], [0, 23, 37]]
FIGURES = {"precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 45}
METRICS = {"rows": 140, "accuracy": 0.89, "per_class": dict.fromkeys(LABELS, FIGURES), "confusion_matrix": MATRIX}
RISK = [
    {"score": 0.9, "answered": 0.2, "errors": 0.004, "bound": 0.009},
    {"score": 0.81234567, "answered": 0.5, "errors": 0.01, "bound": 0.02},
    {"score": 0.5, "answered": 1.0, "errors": 0.11, "bound": 0.15},
]
BINS = [{"rows": 70, "confidence": 0.6, "accuracy": 0.7}, {"rows": 70, "confidence": 0.95, "accuracy": 0.97}]
CALIBRATION = {"rows": 2000, "method": "apart", "confidence": 0.975, "after": {"ece": 0.04, "bins": BINS}, "risk": RISK}
expect.set_options(timeout=PATIENCE)


@pytest.fixture(params=[(1280, "light"), (380, "dark")], ids=["light", "narrow-dark"])
def page(browser: Browser, api: Api, shelf: Shelf, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page of a version with metrics and a calibration."""
    shelf.put("mood", labels=LABELS, metrics={"validation": METRICS})
    width, scheme = request.param

    def calibrated(route: Route) -> None:
        version: dict[str, Any] = route.fetch().json()
        version["files"]["calibration.json"] = {"size": 1, "sha256": "0" * 64}
        route.fulfill(json=version)

    with visit(browser, api.url, width=width, scheme=scheme) as visitor:
        visitor.page.route("**/v1/registry/models/mood/versions/1", calibrated)
        visitor.page.route("**/files/calibration.json", lambda route: route.fulfill(json=CALIBRATION))
        yield visitor.open("models/mood/1")


def read(page: Page, heading: str) -> str:
    card = page.locator("section.card", has=page.get_by_role("heading", name=heading, exact=True))
    return card.inner_text().replace("\u202f", " ")


def test_the_worst_confusion_and_the_threshold_of_a_limit_are_found(page: Page) -> None:
    expect(page.get_by_role("heading", name="Threshold for answers")).to_be_visible()
    expect(page.get_by_role("heading", name="Most frequent confusions")).to_be_visible()
    assert "positive answered as neutral – 23 rows, 38.3 % of 60" in read(page, "Confusions")
    limit = page.get_by_label("Maximum error rate, measured")
    limit.fill("2")
    assert "With 97.5 % confidence, at most 2.0 % of the answers are wrong" in read(page, "Threshold for answers")
    assert '"abstain_below": 0.812345' in read(page, "Threshold for answers")  # rounded down: the row itself is kept
    assert '"max_risk": 0.02' in read(page, "Threshold for answers")
    limit.fill("1")
    shown = read(page, "Threshold for answers")
    assert "with at most 1.0 % wrong answers on the held-out rows" in shown and "too few" in shown
    assert "can be guaranteed is 1.83 %" in shown and "at most 2 %, with 97.5 % confidence" in shown
    limit.fill("0.1")
    shown = read(page, "Threshold for answers")
    assert "This one has the fewest wrong answers, 0.4 %." in shown and '"abstain_below": 0.9' in shown
    for unusable in ("101", "0", "-3"):
        limit.fill(unusable)
        assert "Enter a percentage above 0 and below 100." in read(page, "Threshold for answers")
        assert limit.get_attribute("aria-invalid") == "true"
    limit.fill("2")
    assert '"max_risk": 0.02' in read(page, "Threshold for answers")
    limit.fill("")
    assert '"max_risk"' not in read(page, "Threshold for answers")
    limit.fill("2")
    page.get_by_role("slider", name="Measured thresholds").focus()
    page.keyboard.press("ArrowLeft")  # the slider: another threshold, to which the note does not apply
    assert "97.5 % confidence, at most 2.0 %" not in read(page, "Threshold for answers") and limit.input_value() == ""
    assert '"abstain_below": 0.5' in read(page, "Threshold for answers")
    assert serious_problems(page) == []
    limit.fill("2")
    page.get_by_role("link", name="Try it in the playground").click()
    expect(page.get_by_label("Maximum error rate, guaranteed")).to_have_value("2")


def test_a_threshold_between_two_measured_ones_has_the_figures_of_both(page: Page) -> None:
    threshold = page.get_by_label("Threshold, in %")
    expect(threshold).to_have_value("50")  # the lowest measured threshold, which answers all rows
    shown = read(page, "Threshold for answers")
    assert "The slider has 3 positions: the measured thresholds from 50.0 % to 90.0 %." in shown
    assert "On 2 000 held-out rows of the training run." in shown and "Measured at\n50.0 %" in shown
    threshold.fill("70")
    shown = read(page, "Threshold for answers")
    assert "Next lower measured\n50.0 %\nAnswered\n100.0 %\nWrong answers\n11.0 %" in shown
    assert "Next higher measured\n81.2 %\nAnswered\n50.0 %\nWrong answers\n1.0 %" in shown
    assert '"abstain_below": 0.7' in shown
    threshold.fill("81.2")  # as displayed
    shown = read(page, "Threshold for answers")
    assert "Measured at\n81.2 %" in shown and "Next" not in shown and '"abstain_below": 0.812' in shown
    threshold.fill("20")
    assert "Lowest measured\n50.0 %" in read(page, "Threshold for answers")
    threshold.fill("95")
    assert "Next lower measured\n90.0 %" in read(page, "Threshold for answers")
    threshold.fill("120")
    assert "Enter a percentage above 0 and below 100." in read(page, "Threshold for answers")
    assert threshold.get_attribute("aria-invalid") == "true"
    page.get_by_text("All measured thresholds").first.click()
    expect(page.get_by_role("region", name="All measured thresholds").get_by_role("row")).to_have_count(4)
    assert serious_problems(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_single_confusions_are_visible_in_a_matrix_that_scrolls(
    browser: Browser, api: Api, shelf: Shelf, scheme: str
) -> None:
    labels = tuple(f"label number {i}" for i in range(9))
    matrix = [[1000 if i == j else int(j == i + 1) for j in range(9)] for i in range(9)]
    metrics = {"rows": 9008, "accuracy": 0.99, "per_class": dict.fromkeys(labels, FIGURES), "confusion_matrix": matrix}
    shelf.put("topics", labels=labels, metrics={"validation": metrics})
    with visit(browser, api.url, width=380, scheme=scheme) as visitor:
        page = visitor.open("models/topics/1")
        box = page.get_by_role("region", name="Confusion matrix")
        expect(page.get_by_text("Scroll the matrix sideways to see all columns.")).to_be_visible()
        cell = page.get_by_role("button", name="label number 0 answered as label number 1: 1 row", exact=True)
        mixed, panel = cell.evaluate("e => [e, e.closest('.card')].map((x) => getComputedStyle(x).backgroundColor)")
        assert distance(page, mixed, panel) > 20
        name = box.get_by_role("rowheader", name="label number 8")
        name.scroll_into_view_if_needed()
        before = name.bounding_box()
        box.evaluate("e => { e.scrollLeft = 10000; }")
        expect(box.get_by_role("button", name="label number 8 answered as label number 8")).to_be_in_viewport(ratio=0.9)
        assert before and name.bounding_box() == before  # the row labels stay
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def distance(page: Page, *colours: str) -> float:
    """The largest difference between two colours in a channel, from 0 to 255."""
    script = """(colours) => colours.map((colour) => {
        const context = new OffscreenCanvas(1, 1).getContext("2d");
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];
    })"""
    first, second = page.evaluate(script, list(colours))
    return max(abs(a - b) for a, b in zip(first, second, strict=True))
