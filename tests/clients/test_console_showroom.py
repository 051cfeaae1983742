"""The pages of a version and of models in a real browser, with one shared service."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.clients.browser import PATIENCE, serious_problems
from tests.clients.showroom import EVIL, REPORT, ROWS_SHA, TRAINED_ON, Showroom

expect.set_options(timeout=PATIENCE)
pytestmark = pytest.mark.long


def card(page: Page, name: str) -> str:
    """The text of the card with this title."""
    return page.get_by_role("region", name=name, exact=True).first.inner_text().replace("\u202f", " ")


def columns_sent(room: Showroom, count: int) -> list[dict[str, str]]:
    """The columns of the `count` evaluations that were requested last."""
    with room.api.client() as client:
        return [evaluation["columns"] for evaluation in client.get("/v1/evaluations").json()["data"][:count]]


def test_a_version_shows_its_settings_data_and_card(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/models/mood/1")
    expect(page.get_by_role("img", name="Calibration: predicted 60")).to_be_visible()
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
    expect(lineage.get_by_role("link", name="moods.csv")).to_have_attribute("href", "#/files")
    lineage.get_by_role("link", name=room.job).click()
    expect(page.get_by_role("heading", name="mood", exact=True)).to_be_visible()


def test_a_cell_of_the_confusions_leads_to_examples(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/models/mood/1")
    page.get_by_role("button", name="positive answered as neutral: 23 rows").click()
    examples = page.get_by_role("region", name="Examples", exact=True)
    expect(examples.get_by_text("This cell counts 23 of the 140 test rows of the training run.")).to_be_visible()
    evaluations = page.get_by_role("region", name="Evaluations on files", exact=True).first
    expect(evaluations.get_by_label("Rows")).to_have_value("held-out")
    examples.get_by_role("button", name="Evaluate to see examples").click()
    progress = evaluations.get_by_role("status").filter(has_text="Evaluation on a.csv: waiting for a worker")
    expect(progress).to_be_focused()
    expect(progress).to_be_in_viewport()
    expect(evaluations.get_by_role("row", name="a.csv")).to_have_count(0)  # none at the time of the visit
    page.reload()
    expect(progress).to_be_visible()  # the evaluation that was started before
    expect(evaluations.get_by_role("row", name="a.csv")).to_contain_text("queued")
    page.get_by_role("button", name="positive answered as neutral: 23 rows").click()
    room.finish_evaluation(REPORT | {"rows_sha256": "0b" * 32, "warnings": [TRAINED_ON]})
    expect(examples.get_by_role("cell", name="so so")).to_be_visible()
    expect(examples.get_by_text("The examples are not the counted rows. They come from")).to_contain_text(
        "an evaluation on the 140 test rows of a.csv. The only example in this cell is shown."
    )
    expect(page.get_by_text(TRAINED_ON[4:])).to_have_count(3)  # examples, worst mistakes, list of evaluations
    examples.get_by_role("button", name="Evaluate on other rows").click()
    expect(evaluations.get_by_label("Rows")).to_be_focused()
    expect(evaluations.get_by_label("Rows")).to_be_in_viewport()
    evaluations.get_by_role("button", name="Evaluate").click()
    expect(progress).to_be_visible()
    room.finish_evaluation()
    expect(examples.get_by_text("The examples are the counted rows.")).to_be_visible()
    expect(examples.first).to_be_focused()
    expect(examples.first).to_be_in_viewport()
    row = evaluations.get_by_role("row", name="a.csv").first
    expect(row).to_contain_text("Accuracy 89.0")
    expect(row).to_contain_text("succeeded")
    expect(row).to_contain_text("140 test rows")
    assert columns_sent(room, 2) == [{"text": "text"}] * 2  # the version's columns that the file has
    expect(page.get_by_role("region", name="Worst mistakes", exact=True).first).to_contain_text(f"so so {EVIL}")
    page.get_by_role("link", name="the newest evaluation").click()
    expect(page.get_by_role("heading", name="Evaluation of mood:1")).to_be_visible()
    about = page.get_by_role("region", name="About")
    expect(about.get_by_text("a.csv", exact=True)).to_be_visible()
    expect(about.get_by_text("just now")).to_be_visible()
    expect(page.get_by_text("Measured on the 140 test rows of a.csv.")).to_be_visible()
    assert serious_problems(page) == []
    page.goto(f"{room.url}/#/models/mood/2")  # its file is not known
    page.get_by_role("button", name="positive answered as neutral: 23 rows").click()
    expect(page.get_by_label("Rows", exact=True)).to_have_value(re.compile("^file-"))
    expect(page.get_by_label("Rows", exact=True).get_by_text("held-out rows")).to_have_count(0)
    assert page.evaluate("window.hacked") is None


def test_rows_that_were_drawn_for_validation_can_be_evaluated(page: Page, room: Showroom) -> None:
    """Even if no column of the training file assigns rows to splits."""
    file = {"id": "file-1", "filename": "a.csv", "columns": ["text", "label"]}
    page.route(re.compile("/v1/files/file-[^/]+$"), lambda route: route.fulfill(json=file))
    page.route("**/v1/evaluations", lambda route: route.abort())
    page.goto(f"{room.url}/#/models/mood/1")
    panel = page.get_by_role("region", name="Evaluations on files", exact=True)
    with page.expect_request("**/v1/evaluations") as sent:
        panel.get_by_role("button", name="Evaluate").click()
    options = {"validation_split": 0.2, "encoding": "utf-8", "skip_bad_rows": 0.1}
    assert sent.value.post_data_json.items() >= options.items()


def test_the_figures_of_a_threshold_agree_with_the_worst_mistakes(page: Page, room: Showroom) -> None:
    """They are shown for the rows and probabilities of the mistakes as well."""
    page.goto(f"{room.url}/#/models/mood/1")
    card_ = page.get_by_role("region", name="Threshold for answers")
    expect(card_.get_by_text("On 140 held-out rows of the training run.")).to_be_visible()
    measured = [{"score": 0.9, "answered": 0.25, "errors": 0.03}, {"score": 0.5, "answered": 1.0, "errors": 0.12}]
    mistakes = [{**REPORT["mistakes"][0], "score": 0.99931}]
    with room.api.client() as client:
        file = client.get("/v1/files").json()["data"][-1]["id"]
        client.post("/v1/evaluations", json={"model": "mood:1", "file": file, "columns": {"text": "text"}})
    room.finish_evaluation(REPORT | {"thresholds": measured, "mistakes": mistakes})
    page.reload()
    expect(card_.get_by_text("On the 140 test rows of a.csv, from the newest evaluation.")).to_be_visible()
    assert "Measured at\n50.0 %\nAnswered\n100.0 %\nWrong answers\n12.0 %" in card(page, "Threshold for answers")
    card_.get_by_label("Threshold, in %").fill("90")
    shown = card(page, "Threshold for answers")
    assert "Measured at\n90.0 %\nAnswered\n20.0 %\nWrong answers\n0.0 %" in shown
    assert "Measured at\n90.0 %\nAnswered\n25.0 %\nWrong answers\n3.0 %" in shown
    shown = card(page, "Worst mistakes")
    assert "99.93 %" in shown and "The probabilities are those that this version returns." in shown


def test_versions_are_tested_against_the_first_and_one_is_promoted(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/compare?versions=mood:1,mood:2,rival:1,echo:1")
    tests = page.get_by_role("region", name="Paired tests")
    expect(tests.get_by_role("row", name="echo:1")).to_contain_text("The task is generation")
    better = page.get_by_role("region", name="Metrics of each version").get_by_role("row", name="Test · accuracy")
    expect(better.get_by_role("cell", name="91.0")).to_contain_text("highest, not tested")
    rows = page.get_by_label("Rows", exact=True)
    expect(rows.get_by_text(re.compile("training file of mood:1$"))).to_be_attached()
    expect(rows.get_by_text("held-out")).to_have_count(0)  # those of rival:1 are not known
    expect(page.get_by_text("Choose the rows first.")).to_be_visible()
    expect(page.get_by_role("button", name="Test on the same rows")).to_be_disabled()
    rows.select_option(index=1)
    page.get_by_role("button", name="Test on the same rows").click()
    expect(tests.get_by_text("waiting for a worker")).to_have_count(2)
    expect(tests.get_by_role("status").first).to_be_focused()
    for _ in range(2):
        room.finish_evaluation(REPORT | {"comparison": {"summary": "the difference may be chance"}})
    assert columns_sent(room, 2) == [{"text": "text"}] * 2
    for version in ("mood:2", "rival:1"):
        row = tests.get_by_role("row", name=re.compile(f"^{version}"))  # the tests may be queued in either order
        expect(row).to_contain_text("the difference may be chance")
        expect(row.get_by_role("link", name="Details")).to_be_visible()
    expect(better.get_by_text("highest", exact=True)).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Version", exact=True).select_option("mood:2")
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_text("champion now points to version 2")).to_be_visible()
    page.goto(f"{room.url}/#/models/mood")
    moves = page.get_by_role("region", name="Moves of champion")
    expect(moves.get_by_role("cell", name="from version 1 to version 2")).to_be_visible()
    expect(moves.get_by_role("cell", name="created for version 1")).to_be_visible()


def test_texts_are_classified_by_several_versions_side_by_side(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/play?model=mood:1")
    also = page.get_by_label("Compare with")
    for version in ("mood:2", "rival", "mood:2"):
        also.select_option(version)
    page.get_by_role("button", name="Remove rival").click()
    also.select_option("rival")
    page.get_by_label("Prediction set").select_option("0.9")
    page.get_by_label("Texts", exact=True).fill("so so\ngreat")
    page.get_by_role("button", name="Classify").click()
    for version, count in (("mood:1", 2), ("mood:2, rival", 1)):
        expect(page.get_by_role("heading", name=version, exact=True)).to_have_count(count)
    expect(page.get_by_text("Prediction set:")).to_have_count(2)  # only mood:1 has a calibration
    expect(page.get_by_text("The action failed")).to_have_count(1)  # once for all versions and texts
    expect(page.get_by_role("alert")).to_contain_text("a calibration, but each of these versions has none")
    page.goto(f"{room.url}/#/play?model=waves:1")
    expect(page.get_by_label("Model", exact=True)).to_have_value("waves:1")
    page.get_by_label("Texts", exact=True).fill("[[0.1, 0.2], [0.3, 0.1]]")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".bars li").first).to_be_visible()
    page.get_by_text("Earlier inputs, stored in this browser").click()
    page.get_by_role("button", name="so so great").click()
    expect(page.get_by_label("Texts", exact=True)).to_have_value("so so\ngreat")


def test_a_limit_that_cannot_be_guaranteed_is_explained_in_the_unit_of_its_field(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/play?model=mood:1")
    limit = page.get_by_label("Maximum error rate, guaranteed, in %")
    page.get_by_label("Texts", exact=True).fill("so so")
    limit.fill("1")
    page.get_by_role("button", name="Classify").click()
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("the maximum error rate is 1\u202f%, but with 140 held-out rows")
    expect(problem).to_contain_text(
        "no error rate below 15\u202f%; raise the maximum error rate to at least 15\u202f%,"
    )
    expect(problem).not_to_contain_text("max_risk")
    limit.fill("250")
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_text("Enter a maximum error rate above 0 and below 100 %.")).to_be_visible()
    expect(limit).to_have_attribute("aria-invalid", "true")


def test_tokens_are_explained_to_the_keyboard_and_stopped_texts_are_kept(page: Page, room: Showroom) -> None:
    room.engine.hold_after = 4
    page.goto(f"{room.url}/#/play?model=echo")
    page.get_by_label("Prompt").fill("once upon a time")
    page.get_by_role("button", name="Generate").click()
    tokens = page.locator(".output .token")
    expect(tokens).to_have_count(4)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("· stopped").first).to_be_visible()
    room.engine.release()
    tokens.first.focus()
    expect(page.get_by_text('"o": ')).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text('"n": ')).to_be_visible()
    tokens.nth(3).click()
    expect(page.get_by_text('"e": ')).to_be_visible()
    assert serious_problems(page) == []
    page.get_by_text("Earlier inputs, stored in this browser").click()
    expect(page.get_by_role("button", name="once upon a time")).to_be_visible()


def test_embeddings_are_compared_and_their_texts_kept(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/play?model=mood:1")
    page.get_by_role("tab", name="Embed").click()
    page.get_by_label("Texts", exact=True).fill("one\ntwo\nthree")
    page.get_by_role("button", name="Compare").click()
    similarity = page.get_by_role("region", name="Similarity", exact=True).last
    expect(similarity.get_by_role("rowheader", name="3. three")).to_be_visible()
    expect(similarity.get_by_role("cell", name="1", exact=True)).to_have_count(9)
    assert serious_problems(page) == []
    page.get_by_text("Earlier inputs, stored in this browser").click()
    expect(page.get_by_role("button", name="one two three")).to_be_visible()
    page.get_by_role("button", name="Forget all").click()
    assert "three" not in page.evaluate("JSON.stringify(localStorage)")


def test_the_traffic_of_the_last_hour_is_shown_by_version_and_reason(page: Page, room: Showroom) -> None:
    sampler = room.api.services.traffic
    with room.api.client() as client:
        for text in ("so so", "great", "bad"):
            assert client.post("/v1/classify", json={"model": "rival", "input": text}).status_code == 200
        admission = room.api.services.inference.admission
        admission.requests = admission.max_requests
        assert client.post("/v1/classify", json={"model": "rival", "input": "a"}).status_code == 429
        admission.requests = 0
    sampler.ring.add(sampler.take())
    page.goto(f"{room.url}/#/traffic")
    labels = page.get_by_role("region", name="Labels by version")
    labels.get_by_label("Version").select_option("rival:1")
    expect(labels.get_by_text("3 inputs in the last hour, with a mean confidence of")).to_be_visible()
    expect(page.get_by_role("img", name="Share of each label. Latest:")).to_be_visible()
    expect(page.get_by_role("img", name="Mean confidence. Latest: rival:1")).to_be_visible()
    expect(page.get_by_role("img", name="Mean latency. Latest:")).to_be_visible()
    expect(page.get_by_role("row", name="Too many waiting requests 1")).to_be_visible()
    expect(page.get_by_role("region", name="Since this API process started", exact=True)).to_contain_text(
        "Refused (429)"
    )
    assert serious_problems(page) == []
