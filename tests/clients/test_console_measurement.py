"""The console shows no metrics that were measured on too few rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from app.checkpoint.calibration import Calibration, ConformalScores
from app.jobs.claims import JobClaims
from app.jobs.records import TRAINING_LANE
from app.training.calibration.risk import risk_levels
from app.wire import measurement
from tests.clients.browser import PATIENCE, chromium, visit
from tests.serving import Api, Shelf

PERFECT_RATE = re.compile(r"\b(100(\.0+)?\s?%|1\.0+\b)")  # an id may contain 100
FEW = measurement.verdict(2)
LABELS = ("bad", "good")
SHORT_WINDOWS = (  # points of a training loss, and the points that are drawn: short windows would look like spikes
    ([[10, 4.0], [20, 3.0], [21, 9.0], [30, 2.0]], [[10, 4.0], [20, 3.0], [30, 2.7]]),  # joined to the next one
    ([[10, 4.0], [20, 3.0], [30, 2.0], [31, 9.0]], [[10, 4.0], [20, 3.0], [31, 29 / 11]]),  # the last one
    ([[1, 9.0], [10, 4.0], [20, 3.0]], [[10, 4.5], [20, 3.0]]),  # the first one
    ([[5, 0.4], [6, 0.25]], [[5, 0.4], [6, 0.25]]),  # too few to judge
)
COMPARISONS = (
    (
        '[{name: "a:1", value: 0.87}, {name: "a:2", value: 0.841}], "accuracy", {test: "McNemar", p: 0.0041}',
        "a:1 is better than a:2: accuracy 87.0 % and 84.1 % on the same rows. "
        "Such a difference is unlikely to be due to chance (McNemar’s test, p = 0.004).",
    ),
    (
        '[{name: "a:1", value: -0.2}, {name: "a:2", value: 0.1}], "r2", {test: "paired t-test", p: 0.21}',
        "No clear difference between a:1 and a:2: R² -0.2000 and 0.1000 on the same rows. "
        "The difference may be due to chance (paired t-test, p = 0.210).",
    ),
    (
        '[{name: "a:1", value: 2.5}, {name: "a:2", value: 2.25}], "bits_per_character", {on: "on the same text"}',
        "a:1 is worse than a:2: 2.500 and 2.250 bits per character on the same text. "
        "It was not tested whether this difference may be due to chance.",
    ),
)
FORMATS = (  # one format for each kind of figure
    ("figure('accuracy', 0.941)", "94.1 %"), ("figure('loss', 0.405)", "0.4050"), ("figure('mae', 1234.5)", "1 235"),
    ("figure('tokens', 1234)", "1 234"), ("figure('loss', null)", "–"), ("figure('loss', 0.0000123)", "1.23 e-5"),
    ("probability(0.941)", "94.1 %"), ("probability(0.99931)", "99.93 %"), ("probability(0.999996)", "99.9996 %"),
    ("probability(1)", "100.0 %"), ("roundedUp(0.018212)", "1.83 %"), ("pValue(0.0004)", "p < 0.001"),
)  # fmt: skip
PERFECT = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
METRICS = {
    "rows": 2, "accuracy": 1.0, "macro_f1": 1.0, "per_class": dict.fromkeys(LABELS, PERFECT),
    "confusion_matrix": [[1, 0], [0, 1]],
}  # fmt: skip
expect.set_options(timeout=PATIENCE)


@pytest.fixture
def page(api: Api) -> Iterator[Page]:
    with chromium() as browser, visit(browser, api.url) as visitor:
        visitor.open()
        yield visitor.page


def open_view(page: Page, api: Api, place: str) -> None:
    page.goto(f"{api.url}/#/{place}")
    page.wait_for_load_state("networkidle")


def read_body(page: Page) -> str:
    return page.locator("main").inner_text().replace("\u202f", " ")


def table(rows: int, errors: float) -> Calibration:
    """A calibration with random scores. Answers with a lower score are wrong more often."""
    random = np.random.default_rng(rows)
    scores_N, lots_N = random.random(rows), random.random(rows)
    risk = risk_levels(scores_N, lots_N > 2 * errors * (1 - scores_N))
    scores = ConformalScores(rows=1, values=[0.5])
    return Calibration(format_version=1, rows=rows, method="apart", scale=[1.0], bias=[], scores=scores, risk=risk)


def test_the_rule_is_that_of_the_service(page: Page) -> None:
    folder = str(page.locator("script[type=module]").get_attribute("src")).rpartition("/")[0]
    names = "[q.MEASURABLE_ROWS, q.CALIBRATION_ERROR_ROWS, q.verdict(2)]"
    script = f"import('{folder}/quality.js').then((q) => {names})"
    rule = [measurement.MEASURABLE_ROWS, measurement.CALIBRATION_ERROR_ROWS, FEW]
    assert page.evaluate(script) == rule
    add = "{ const all = new c.Curves(); all.add(DATA); return all.metrics().length; }"
    curves = f"import('{folder}/curves.js').then((c) => {add})"
    data = "{step: 1, valid_rows: ROWS, accuracy: 1, macro_f1: 1, valid_mean_token_accuracy: 1}"
    risks = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
    tables = [table(rows, errors) for rows in (20, 60, 400, 3000) for errors in (0.0, 0.01, 0.1, 0.4)]
    given = json.dumps([msgspec.to_builtins(each) for each in tables])
    levels = (
        f"({given}).map((table) => [{risks}.map((risk) => r.level(table, risk)?.score ?? null), r.leastRisk(table)])"
    )
    guaranteed = [[[level and level.score for level in map(each.level, risks)], each.least_risk] for each in tables]
    assert page.evaluate(f"import('{folder}/version/risk.js').then((r) => {levels})") == guaranteed
    shown = [page.evaluate(curves.replace("DATA", data.replace("ROWS", rows))) for rows in ("2", "20")]
    assert shown == [0, 3]
    for windows, curve in SHORT_WINDOWS:
        assert page.evaluate(f"import('{folder}/curves.js').then((c) => c.evened({windows}))") == curve
    for expression, text in FORMATS:
        assert page.evaluate(f"import('{folder}/format.js').then((f) => f.{expression})").replace("\u202f", " ") == text
    meanings = (
        "import('FOLDER/quality.js').then((q) => ['loss', 'ece', 'r2'].map((name) => q.meaning(name, -1, 'TASK')))"
    )
    loss, error, r2 = page.evaluate(meanings.replace("FOLDER", folder).replace("TASK", "classification"))
    assert loss == "log loss, lower is better" and "lower is better" in error and r2.startswith("worse than")
    assert page.evaluate(meanings.replace("FOLDER", folder).replace("TASK", "regression"))[0] == "lower is better"
    for values, sentence in COMPARISONS:
        shown = page.evaluate(f"import('{folder}/comparison.js').then((c) => c.comparisonInWords({values}))")
        assert shown.replace("\u202f", " ") == sentence


def test_a_version_measured_on_two_rows(page: Page, api: Api, shelf: Shelf) -> None:
    shelf.put("mood", labels=LABELS, metrics={"validation": METRICS})
    shelf.put("mood", labels=LABELS, metrics={"validation": METRICS | {"accuracy": 0.5}})
    for place in ("models", "models/mood", "models/mood/1"):
        open_view(page, api, place)
        expect(page.locator("main").get_by_text(FEW).first).to_be_visible()
        assert not PERFECT_RATE.search(read_body(page)), place
    open_view(page, api, "compare?versions=mood:1,mood:2")
    expect(page.get_by_text("too few rows").first).to_be_visible()
    assert not {"100", "50.0", "highest,"} & set(read_body(page).split())


def test_trials_measured_on_two_rows(page: Page, api: Api) -> None:
    with api.client() as client:
        file = client.post("/v1/files", files={"file": ("a.csv", b"text,label\na,b\n")}, data={"purpose": "fine-tune"})
        job = client.post("/v1/fine_tuning/jobs", json={"model": "auto", "training_file": file.json()["id"]}).json()
    with api.services.database.transaction() as session:
        JobClaims(api.services.database).claim(session, "worker", 600.0, 3, TRAINING_LANE)
    trial: dict[str, Any] = {"id": "ftjob-2", "model": "gru", "status": "succeeded", "progress": 1.0, "parameters": 9}
    trial |= {"metrics": {"accuracy": 1.0, "rows": 2.0}, "error": None, "chosen": True}

    def answer(route: Route) -> None:
        route.fulfill(json=job | {"status": "running", "trials": [trial]})

    page.route(f"**/v1/fine_tuning/jobs/{job['id']}", answer)
    page.route(re.compile(r"/events\?stream=true"), lambda route: route.abort())
    open_view(page, api, f"jobs/{job['id']}")
    expect(page.get_by_text(f"Validation on {FEW}.")).to_be_visible()
    expect(page.get_by_role("cell", name="too few rows")).to_be_visible()
    assert not PERFECT_RATE.search(read_body(page))
