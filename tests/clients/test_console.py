"""The console in a real browser, with an API and a fake engine: what it displays, and what its controls do."""

from __future__ import annotations

import httpx
import msgspec
import pytest
from playwright.sync_api import Browser, expect

from app.jobs.claims import JobClaims
from app.jobs.records import CANCELLED
from app.registry.records import Abstention
from app.settings import Settings
from tests.clients.browser import PATIENCE, Visit, serious_problems, visit
from tests.clients.console import claimed_job, write_step
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, engine_of, wait_until

EVIL = "<img src=x onerror=window.hacked=1>"
MATRIX = [[40, 2, 3], [4, 30, 1], [0, 5, 55]]
expect.set_options(timeout=PATIENCE)


def measured(labels: tuple[str, ...]) -> dict[str, object]:
    """Metrics in the format of a training run."""
    figures = {"precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 45}
    per_class = dict.fromkeys(labels, figures)
    return {"validation": {"rows": 140, "accuracy": 0.89, "per_class": per_class, "confusion_matrix": MATRIX}}


@pytest.fixture
def job(api: Api) -> str:
    """A training job that a worker has claimed."""
    return claimed_job(api)


def file_of(api: Api, job: str) -> str:
    file: str = httpx.get(f"{api.url}/v1/fine_tuning/jobs/{job}").json()["training_file"]
    return file


def test_labels_and_texts_are_shown_as_text(console: Visit, shelf: Shelf) -> None:
    labels = (EVIL, "neutral", "positive")
    shelf.put("mood", labels=labels, metrics=measured(labels))
    page = console.open("models/mood/1")
    expect(page.get_by_role("rowheader", name=EVIL)).to_be_visible()
    page = console.open("play?model=mood")
    page.get_by_label("Texts", exact=True).fill(f"{EVIL}\nsecond")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".bars li").first).to_be_visible()
    expect(page.locator(".quoted").first).to_have_text(EVIL)
    expect(page.locator(".bars .name", has_text=EVIL)).to_have_count(2)
    assert page.evaluate("window.hacked") is None and page.locator("main img").count() == 0


def test_a_text_is_generated_as_a_stream_that_can_be_stopped(console: Visit, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.generator("echo")
    engine.hold_after = 4
    page = console.open("play?model=echo")
    page.get_by_label("Prompt").fill("once upon a time there was")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".output .token").first).to_be_visible()
    wait_until(lambda: engine.running == 1)
    page.get_by_role("button", name="Stop").click()
    wait_until(lambda: engine.running == 0)
    expect(page.get_by_text("· stopped").first).to_be_visible()
    engine.release()
    page.get_by_label("Prompt").fill("again")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("reached the token limit").first).to_be_visible()
    expect(page.get_by_text("does not respond")).to_have_count(0)


def test_a_job_is_followed_live_and_cancelled(console: Visit, api: Api, job: str) -> None:
    page = console.open(f"jobs/{job}")
    expect(page.get_by_text("The curves appear after the first steps.")).to_be_visible()
    for step in (1, 2):
        write_step(api, job, step, 1.0 / step)
        expect(page.locator(".legend").first).to_contain_text(f"Training loss {1.0 / step:g}")
    expect(page.locator(".chart canvas").first).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    wait_until(lambda: api.services.jobs.get(job, "local").cancel_requested)
    with api.services.database.transaction() as session:
        JobClaims(api.services.database).finish(session, job, 1, CANCELLED)
    expect(page.get_by_text("after the start, at step 2. No version was published.")).to_be_visible()


def test_an_engine_that_ends_is_reported_and_so_is_its_return(
    browser: Browser, settings: Settings, shelf: Shelf
) -> None:
    shelf.classifier()
    with Api(settings) as api, visit(browser, api.url) as visitor:
        with engine_of(settings):
            api.wait_ready()
            expect(visitor.open().get_by_text("Ready: the database responds")).to_be_visible()
        expect(visitor.page.get_by_text("cannot answer model requests")).to_be_visible()
        with engine_of(settings):
            expect(visitor.page.get_by_text("Ready: the database responds")).to_be_visible()


def test_a_conflict_over_an_alias_is_shown_and_nothing_is_overwritten(console: Visit, api: Api, shelf: Shelf) -> None:
    for _ in range(3):
        shelf.classifier("mood")
    shelf.registry.set_alias("mood", "champion", 1, "local")
    page = console.open("models/mood")
    shelf.registry.set_alias("mood", "champion", 2, "local")  # somebody else, who then changes no version
    shelf.registry.set_alias("mood", "champion", 2, "local", abstention=Abstention(abstain_below=0.5))
    page.get_by_label("Alias", exact=True).fill("champion")
    page.get_by_label("Points to").select_option("3")
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_text("Another client has moved this alias")).to_be_visible()
    assert shelf.registry.model("mood", "local").aliases == {"champion": 2}
    page.get_by_role("button", name="Show the current state").click()
    expect(page.get_by_text("abstention changed, still version 2")).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Roll back to version 1").click()
    expect(page.get_by_text("points to version 1", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Return to version 2")).to_be_visible()
    assert shelf.registry.model("mood", "local").aliases == {"champion": 1}
    page.get_by_label("Alias", exact=True).fill("other")
    page.get_by_role("button", name="Move").click()
    expect(page.get_by_label("Points to")).to_be_focused()
    expect(page.get_by_label("Alias", exact=True)).to_have_value("champion")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("points to version 1", exact=True)).to_have_count(0)
    assert shelf.registry.model("mood", "local").aliases == {}
    page.get_by_role("link", name="Train a new version").click()
    expect(page.get_by_role("heading", name="New version of mood")).to_be_visible()


def test_an_alias_moves_to_another_version_and_rolls_back_to_one_that_still_exists(
    console: Visit, shelf: Shelf
) -> None:
    for _ in range(3):
        shelf.classifier("mood")
    page = console.open("models/mood")
    expect(page.get_by_label("Points to")).to_have_value("3")
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_text("this alias has never pointed to a version other than 3.")).to_be_visible()
    page.get_by_role("button", name="Move").click()
    expect(page.get_by_label("Points to")).to_have_value("2")  # the newest to which the alias does not point
    page.get_by_label("Points to").select_option("3")
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_text("champion already points to version 3.")).to_be_visible()
    for version in (2, 1):
        shelf.registry.set_alias("mood", "champion", version, "local")
    shelf.registry.delete_version("mood", 2, "local")
    page.reload()
    expect(page.get_by_role("button", name="Return to version 3")).to_be_visible()  # the version before is deleted
    shelf.registry.delete_version("mood", 3, "local")
    page.reload()
    expect(page.get_by_text("the earlier versions of this alias have been deleted.")).to_be_visible()


def test_a_version_is_promoted_from_its_page_unless_another_client_has_moved_the_alias(
    console: Visit, shelf: Shelf
) -> None:
    for _ in range(3):
        shelf.classifier("mood")
    shelf.registry.set_alias("mood", "champion", 1, "local")
    page = console.open("models/mood/3")
    page.on("dialog", lambda dialog: dialog.accept())
    expect(page.get_by_role("button", name="Promote to champion")).to_be_visible()
    shelf.registry.set_alias("mood", "champion", 2, "local")
    page.get_by_role("button", name="Promote to champion").click()
    expect(page.get_by_text("Another client has moved this alias")).to_be_visible()
    assert shelf.registry.model("mood", "local").aliases == {"champion": 2}
    page.get_by_role("button", name="Show the current state").click()
    expect(page.get_by_text("Another client has moved this alias")).to_have_count(0)
    page.get_by_role("button", name="Promote to champion").click()
    expect(page.get_by_role("link", name="is @champion")).to_be_visible()
    assert shelf.registry.model("mood", "local").aliases == {"champion": 3}


def test_with_keys_a_wrong_one_is_refused_and_a_right_one_stays_in_the_tab(
    browser: Browser, settings: Settings, engine: FakeEngine
) -> None:
    guarded = msgspec.structs.replace(settings, api_keys="ann:secret-of-ann-1")
    with Api(guarded) as api, visit(browser, api.url) as visitor:
        api.wait_ready()
        page = visitor.open()
        page.get_by_label("API key").fill("wrong-secret")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("The API key is not valid.")).to_be_visible()
        page.get_by_label("API key").fill("schlüssel ✓")  # a header cannot contain it
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("a key cannot contain the character “✓”")).to_be_visible()
        page.get_by_label("API key").fill("secret-of-ann-1")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Train your first model")).to_be_visible()
        assert page.evaluate("JSON.stringify(localStorage)").find("secret-of-ann") < 0
        assert page.context.cookies() == []
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in to Ostinato")).to_be_visible()


def test_a_key_sees_the_traffic_of_its_own_versions(
    browser: Browser, settings: Settings, shelf: Shelf, engine: FakeEngine
) -> None:
    shelf.classifier("mood", owner="ann")
    guarded = msgspec.structs.replace(settings, api_keys="ann:secret-of-ann-1", key_scopes="ann:infer")
    with Api(guarded) as api, visit(browser, api.url) as visitor:
        api.wait_ready()
        page = visitor.open()
        page.get_by_label("API key").fill("secret-of-ann-1")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Traffic").click()
        expect(page.get_by_text("No model request was answered in the last hour.").last).to_be_visible()
        with api.client("secret-of-ann-1") as client:
            assert client.post("/v1/classify", json={"model": "mood", "input": "a"}).status_code == 200
        api.services.traffic.ring.add(api.services.traffic.take())
        page.reload()
        expect(page.get_by_text("1 input in the last hour")).to_be_visible()
        expect(page.get_by_role("heading", name="Now")).to_be_hidden()
        expect(page.get_by_text("required scope")).to_have_count(0)


def test_the_sign_in_page_can_be_read_by_everybody(browser: Browser, settings: Settings, engine: FakeEngine) -> None:
    guarded = msgspec.structs.replace(settings, api_keys="ann:secret-of-ann-1")
    with Api(guarded) as api, visit(browser, api.url, width=380) as visitor:
        visitor.page.goto(api.url)
        expect(visitor.page.get_by_role("heading", name="Sign in to Ostinato")).to_be_visible()
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 380
        assert serious_problems(visitor.page) == []
        visitor.page.emulate_media(color_scheme="dark")
        assert serious_problems(visitor.page) == []


COMPARED = "compare?versions=mood:1,mood:2"
PLACES = (
    "",
    "train",
    "jobs",
    "models",
    "models/mood",
    "models/mood/1",
    "play",
    COMPARED,
    "traffic",
    "files",
    "settings",
    "models/none",
    "nowhere",
)
CUT = "e => e.filter(box => box.scrollWidth > box.clientWidth && !box.querySelector('.matrix')).length"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (380, "dark")])
def test_every_view_can_be_read_by_everybody(
    browser: Browser, api: Api, shelf: Shelf, job: str, width: int, scheme: str
) -> None:
    """No view is wider than the screen, and axe reports no serious problems with contrast, names, roles or order."""
    labels = (EVIL, "a label with a rather long name that nobody has shortened ".ljust(200, "x"), "positive")
    shelf.put("mood", labels=labels, metrics=measured(labels), alias="champion")
    shelf.put("a-model-with-a-name-of-sixty-characters-which-nobody-shorten", labels=labels, metrics=measured(labels))
    with api.client() as client:
        evaluation = client.post("/v1/evaluations", json={"model": "mood", "file": file_of(api, job)}).json()["id"]
    shelf.put("mood", labels=labels, metrics=measured(labels))
    write_step(api, job, 1, 0.5)
    with visit(browser, api.url, width=width, scheme=scheme) as visitor:
        for place in (*PLACES, f"jobs/{job}", f"evaluations/{evaluation}"):
            page = visitor.open(place)
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, place
            assert page.eval_on_selector_all(".scroll", CUT) == 0, place
            assert serious_problems(page) == [], place


def test_a_file_is_previewed_uploaded_and_trained_on(console: Visit, api: Api, engine: FakeEngine) -> None:
    api.services.estimates._running.acquire()  # the check is refused as busy: the trainer would take half a minute
    page = console.open("train")
    content = b'text,label\n"a, quoted",good\nsecond,bad\n'
    page.get_by_label("Choose a data file").set_input_files(
        {"name": "My moods.csv", "mimeType": "text/csv", "buffer": content}
    )
    expect(page.get_by_role("cell", name="a, quoted")).to_be_visible()
    page.get_by_label("Architecture").select_option("gru")
    page.get_by_text("Options (chosen automatically").click()
    page.get_by_label("Epochs").fill("3")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("heading", name="my-moods")).to_be_visible()
    [made] = httpx.get(f"{api.url}/v1/fine_tuning/jobs").json()["data"]
    assert (made["model"], made["training"], made["publish"]["name"]) == ("gru", {"epochs": 3}, "my-moods")
