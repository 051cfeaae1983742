"""The page for a new training: the file and its preview, the columns, the options, and the result of the check."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from app.api.openai.fine_tuning_estimates import ESTIMATE
from app.wire.training_options import Columns, LoraOptions, TrainingOptions
from tests.clients.browser import PATIENCE, serious_problems, visit
from tests.clients.snippets import code_in, the
from tests.fakes import FakeEngine
from tests.serving import Api
from tests.training.data.tables import parquet, xlsx

PLAN: dict[str, Any] = ESTIMATE["plans"][0]
LINEAR = PLAN | {"model": "linear", "architecture": "linear", "layers": None, "width": None}
LINEAR |= {"choices": [{"option": "batch_size", "value": 64, "reason": "Larger for more rows.", "requested": False}]}
CHECK = "**/jobs?dry_run=true&stream=true"
expect.set_options(timeout=PATIENCE)


def events(*values: tuple[str, dict[str, Any]]) -> str:
    """A stream of server-sent events, each with its type and its data."""
    return "".join(f"event: {kind}\ndata: {json.dumps(value)}\n\n" for kind, value in values) + "data: [DONE]\n\n"


@pytest.fixture
def page(browser: Browser, api: Api, engine: FakeEngine, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, with an immediate reply to its check. If the architecture is `auto`, the reply has several runs."""
    width, scheme = getattr(request, "param", (1280, "light"))

    def answer(route: Route) -> None:
        estimate = copy.deepcopy(ESTIMATE)
        if route.request.post_data_json["model"] == "auto":
            estimate["plans"] = [LINEAR, PLAN]
        read = estimate | {"plans": []}
        route.fulfill(body=events(("data", read), ("estimate", estimate)), content_type="text/event-stream")

    with visit(browser, api.url, width=width, scheme=scheme) as visitor:
        visitor.page.route(CHECK, answer)
        yield visitor.open("train")


def drop(page: Page, name: str, content: bytes) -> None:
    page.get_by_label("Choose a data file").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )


def upload(client: httpx.Client, name: str, content: bytes) -> str:
    reply = client.post("/v1/files", files={"file": (name, content)}, data={"purpose": "fine-tune"})
    return str(reply.json()["id"])


def started(page: Page, api: Api) -> dict[str, Any]:
    """Start the training, and return the job."""
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    job: dict[str, Any] = httpx.get(f"{api.url}/v1/fine_tuning/jobs").json()["data"][0]
    return job


def test_every_format_is_previewed_and_its_columns_can_be_chosen(page: Page, api: Api) -> None:
    for name, content in (("moods.parquet", parquet()), ("moods.xlsx", xlsx())):
        drop(page, name, content)
        expect(page.get_by_text(name, exact=True)).to_be_visible()
        expect(page.get_by_role("cell", name="naïve 😀")).to_be_visible()
        expect(page.get_by_label("Label", exact=True).get_by_role("option")).to_have_text(
            ["Detect: label", "text", "label", "split", "Several columns…"]
        )
        page.get_by_role("button", name="Another file").click()
    drop(page, "book.txt", b"once upon a time\n" * 30)
    expect(page.get_by_label("First lines")).to_contain_text("once upon a time")
    expect(page.get_by_text("Plain text has no columns.")).to_be_visible()


def test_another_file_begins_with_choices_of_its_own(page: Page, api: Api) -> None:
    drop(page, "first.csv", b"body,stars\nalpha,1\nbeta,2\n")
    expect(page.get_by_role("cell", name="alpha")).to_be_visible()
    page.get_by_label("Task", exact=True).select_option("regression")
    page.get_by_label("Alias to move").fill("champion")
    page.get_by_label("Text", exact=True).select_option("body")
    page.get_by_text("All options").click()
    page.get_by_label("Epochs", exact=True).fill("3")
    page.get_by_label("Seed", exact=True).fill("5")
    with api.client() as client:
        upload(client, "second.csv", b"text,label\ngamma,x\ndelta,y\n")
    page.get_by_role("button", name="Another file").click()
    page.get_by_label("Or choose an uploaded file").select_option(label="second.csv – 2 rows, just now")
    expect(page.get_by_role("cell", name="gamma")).to_be_visible()
    expect(page.get_by_role("cell", name="alpha")).to_have_count(0)
    job = started(page, api)
    assert not job["training"] and job["seed"] != 5
    assert (job["publish"]["name"], job["publish"].get("alias")) == ("second", None)
    assert not job["task"] and not job["columns"]


def test_a_role_may_have_several_columns(page: Page, api: Api) -> None:
    drop(page, "tags.csv", b"message,spam,urgent,id\na,1,0,7\nb,0,1,8\n")
    expect(page.get_by_role("cell", name="message")).to_have_count(0)
    page.get_by_label("Text", exact=True).select_option("message")
    page.get_by_label("Label", exact=True).select_option("Several columns…")
    page.get_by_label("urgent", exact=True).check()
    page.get_by_label("spam", exact=True).check()
    assert serious_problems(page) == []
    assert started(page, api)["columns"] == {"text": "message", "label": "spam,urgent"}


def test_columns_without_usual_names_are_chosen_by_their_contents(page: Page, api: Api) -> None:
    rows = "".join(f"the parcel number {n} is late,{('delay', 'loss')[n % 2]}\n" for n in range(20))
    with page.expect_request(CHECK) as check:
        drop(page, "mail.csv", f"message,kind\n{rows}".encode())
    assert check.value.post_data_json["columns"] == {"text": "message", "label": "kind"}
    expect(page.get_by_text("chosen by their contents: Text: message, Label: kind")).to_be_visible()
    expect(page.get_by_label("Text", exact=True)).to_have_value("message")
    assert serious_problems(page) == []
    assert started(page, api)["columns"] == {"text": "message", "label": "kind"}


def test_a_check_waits_for_its_turn_and_says_so(page: Page) -> None:
    refusals = [("dry_run_busy", "50"), ("quota_exceeded", "90")]

    def refuse(route: Route) -> None:
        if not refusals:
            route.fallback()
            return
        code, seconds = refusals.pop(0)
        headers = {"retry-after": seconds}
        route.fulfill(status=429, json={"error": {"message": "refused", "code": code}}, headers=headers)

    page.route(CHECK, refuse)
    drop(page, "a.csv", b"text,label\na,x\nb,y\n")
    expect(page.get_by_text("The service is busy with another check")).to_be_visible()
    expect(page.get_by_text("This page tries again in")).to_be_visible()
    expect(page.get_by_role("button", name="Check data and estimate time")).to_be_disabled()
    assert serious_problems(page) == []
    page.get_by_role("button", name="Try now").click()
    expect(page.get_by_text("Try again in 1\u202fmin 30\u202fs.")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("The value of each option, and why")).to_be_visible()
    expect(page.get_by_role("button", name="Check data and estimate time")).to_be_enabled()


def test_the_report_on_the_data_is_shown_before_the_time(page: Page) -> None:
    bodies = [events(("data", ESTIMATE | {"plans": []}))]
    bodies.append(events(("data", ESTIMATE | {"plans": []}), ("", {"error": {"message": "the trainer was killed"}})))

    def interrupt(route: Route) -> None:
        route.fulfill(body=bodies.pop(0), content_type="text/event-stream") if bodies else route.fallback()

    page.route(CHECK, interrupt)
    drop(page, "a.csv", b"text,label\na,x\nb,y\n")
    expect(page.get_by_text("The service does not respond.").first).to_be_visible()  # the stream has no estimate
    expect(page.get_by_label("Text", exact=True).locator("option").first).to_have_text("Detect: message")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("the trainer was killed")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("The value of each option, and why")).to_be_visible()


def test_a_training_that_repeats_an_earlier_one_says_so(page: Page, api: Api) -> None:
    with api.client() as client:
        choices = {"model": "gru", "training_file": upload(client, "a.csv", b"text,label\na,x\nb,y\n"), "seed": 7}
        job = client.post("/v1/fine_tuning/jobs", json=choices).json()["id"]
    page.goto(f"{api.url}/#/train?again={job}")
    expect(page.get_by_text("This repeats the earlier training")).to_be_visible()
    page.get_by_label("Architecture").select_option("lstm")
    expect(page.get_by_text("This repeats")).to_have_count(0)
    page.get_by_label("Architecture").select_option("gru")
    page.get_by_role("button", name="Use a new seed").click()
    expect(page.get_by_text("This repeats")).to_have_count(0)
    assert started(page, api)["seed"] != 7


def test_a_refused_column_is_named_and_marked_as_on_the_page(page: Page) -> None:
    message = "a.csv has no column 'text'; set columns.text to the name of the column that contains the texts"
    refusal = {"error": {"message": message, "code": "invalid_training_file", "param": "columns.text"}}

    def refuse(route: Route) -> None:
        if "columns" in route.request.post_data_json:
            route.fallback()
        else:
            route.fulfill(status=400, json=refusal)

    page.route(CHECK, refuse)
    drop(page, "a.csv", b"body,mood\na,x\nb,y\n")
    expect(page.get_by_role("alert")).to_contain_text("set “Text” in step 2 to the name")
    text = page.get_by_label("Text", exact=True)
    expect(text).to_have_attribute("aria-invalid", "true")
    text.select_option("body")
    expect(text).to_have_attribute("aria-invalid", "false")  # by the check, which is repeated


@pytest.mark.parametrize("page", [(1280, "light"), (380, "dark")], indirect=True, ids=["light", "narrow-dark"])
def test_a_training_that_the_check_has_refused_cannot_start(page: Page) -> None:
    """A long file name does not widen the page."""
    refusal = {"error": {"message": "the file is not a table", "code": "invalid_training_file", "param": "x"}}
    page.route(CHECK, lambda route: route.fulfill(status=400, json=refusal))
    drop(page, f"{'a-long-name' * 18}.csv", b"text,label\na,x\nb,y\n")
    expect(page.get_by_text("the file is not a table")).to_be_visible()
    start = page.get_by_role("button", name="Start training")
    expect(start).to_be_disabled()
    expect(page.get_by_text("Training cannot start, because it would fail with the problem below.")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    help_ = page.get_by_text("auto trains a linear model and several networks")
    expect(help_).to_be_visible()
    page.unroute(CHECK)
    page.route(CHECK, lambda route: route.fulfill(status=500, json={"error": {"message": "a fault"}}))
    page.get_by_label("Architecture").select_option("lstm")
    expect(start).to_be_enabled()
    expect(help_).to_have_count(0)
    expect(page.get_by_text("a fault")).to_be_visible()
    expect(start).to_be_enabled()  # the fault of a service says nothing about the file


def test_the_check_shows_columns_values_and_reasons(page: Page, api: Api) -> None:
    drop(page, "a.csv", b"id,message,label\n1,a,bug\n2,b,question\n")
    expect(page.get_by_label("Text", exact=True).locator("option").first).to_have_text("Detect: message")
    expect(page.get_by_label("Task", exact=True).locator("option").first).to_have_text("Detect: classification")
    expect(page.get_by_text("Not used", exact=True)).to_be_visible()
    page.get_by_text("The value of each option, and why").click()
    expect(page.get_by_text("Larger for more rows.")).to_be_visible()  # of one of the two runs
    expect(page.get_by_text("Muon needs fewer steps here than AdamW.")).to_be_visible()
    expect(page.get_by_text("set by you")).to_be_visible()
    with page.expect_request(CHECK) as check:  # repeated without a click
        page.get_by_label("Architecture").select_option("gru")
    assert check.value.post_data_json["model"] == "gru"
    expect(page.get_by_text("Larger for more rows.")).to_have_count(0)
    page.get_by_text("All options").click()
    expect(page.get_by_label("Optimiser", exact=True).locator("option").first).to_have_text("auto: muon")
    page.get_by_text("The value of each option, and why").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")
    assert serious_problems(page) == []


def test_every_option_can_be_set(page: Page, api: Api) -> None:
    folder = str(page.locator("script[type=module]").get_attribute("src")).rpartition("/")[0]
    names = "[o.OPTIONS.flatMap(([, list]) => list.map(([name]) => name)), o.ROLES]"
    options, roles = page.evaluate(f"import('{folder}/options.js').then((o) => {names})")
    adapter = {f"lora.{name}" for name in LoraOptions.__struct_fields__}
    of_training = {*TrainingOptions.__struct_fields__} - {"lora"} | adapter
    assert {*options} == of_training | {"seed", "validation_file", "validation_split"}
    assert {role for role, _ in roles} == {*Columns.__struct_fields__}
    with api.client() as client:
        held_out = upload(client, "held-out.csv", b"text,label\na,x\n")
    drop(page, "a.csv", b"text,label\na,x\nb,y\n")
    page.get_by_text("All options").click()
    page.get_by_label("Validation file").select_option(held_out)
    page.get_by_label("Seed", exact=True).fill("7")
    page.get_by_label("Pooling", exact=True).select_option("last")
    rank, adapted = page.get_by_label("Rank", exact=True), page.get_by_label("Adapted matrices")
    rank.fill("4")
    adapted.fill("qkv, out")
    page.get_by_text("Do the same with curl").first.click()
    assert "--lora-r 4 --lora-target-modules qkv,out" in the(code_in(page), "Command line")
    rank.fill("")
    adapted.fill("")  # only a version of a Transformer can be trained with an adapter
    page.get_by_label("Both directions").select_option("false")
    page.get_by_label("Architecture").select_option("gru")
    job = started(page, api)
    assert (job["validation_file"], job["seed"]) == (held_out, 7)
    assert job["training"] == {"pooling": "last", "bidirectional": False}


def test_a_new_version_begins_with_the_choices_of_the_earlier_training(page: Page, api: Api) -> None:
    choices: dict[str, Any] = {
        "model": "gru", "task": "regression", "seed": 7, "columns": {"text": "body", "value": "stars"},
        "training": {"epochs": 3, "bidirectional": False}, "publish": {"name": "mail", "alias": "champion"},
    }  # fmt: skip
    with api.client() as client:
        choices["training_file"] = upload(client, "mail2.csv", b"body,stars\nalpha,1\nbeta,2\n")
        choices["validation_file"] = upload(client, "held-out.csv", b"body,stars\na,1\n")
        job = client.post("/v1/fine_tuning/jobs", json=choices).json()["id"]
        client.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    page.goto(f"{api.url}/#/jobs/{job}")
    page.get_by_role("link", name="Train on this file again").click()
    expect(page.get_by_role("heading", name="New version of mail")).to_be_visible()
    expect(page.get_by_label("Validation file")).to_have_value(choices["validation_file"])
    expect(page.get_by_label("Epochs", exact=True)).to_be_visible()  # the options that are set are shown
    assert serious_problems(page) == []
    again = started(page, api)
    assert again["id"] != job and again.items() >= (choices | {"publish": again["publish"]}).items()
    assert again["publish"].items() >= choices["publish"].items()
    with api.client() as client:
        client.post(f"/v1/fine_tuning/jobs/{again['id']}/cancel")
        client.delete(f"/v1/files/{choices['training_file']}")
    page.goto(f"{api.url}/#/train?again={job}")
    expect(page.get_by_text("Its file has been deleted: choose another one.")).to_be_visible()
    drop(page, "other.csv", b"text,stars\nalpha,1\nbeta,2\n")  # it has no column named body
    expect(page.get_by_label("Name", exact=True)).to_have_value("mail")
    assert started(page, api)["columns"] == {"value": "stars"}


def test_a_file_dropped_on_the_home_page_is_uploaded_and_shown(page: Page, api: Api) -> None:
    page.goto(f"{api.url}/#/")
    expect(page.get_by_role("heading", name="Train your first model")).to_be_visible()
    transfer = page.evaluate_handle("""() => {
      const data = new DataTransfer();
      data.items.add(new File(['text,label\\nalpha,x\\nbeta,y\\n'], 'dropped.csv', {type: 'text/csv'}));
      return data;
    }""")
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
    expect(page.get_by_role("heading", name="New training")).to_be_visible()
    expect(page.get_by_role("cell", name="alpha")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("dropped")
