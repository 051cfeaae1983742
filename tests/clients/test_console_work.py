"""The pages of a running job, of files and of the settings in a real browser, with one shared service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.db.paging import new_id
from app.jobs import logbook
from app.jobs.claims import JobClaims
from app.jobs.records import TRAINING_LANE, JobCheckpoint, JobProgress, NewEvent
from tests.clients.browser import PATIENCE, serious_problems, visit
from tests.clients.console import log, write_step
from tests.clients.showroom import Showroom
from tests.serving import wait_until

PATNA = timedelta(hours=5, minutes=30)
expect.set_options(timeout=PATIENCE)
pytestmark = pytest.mark.long


@pytest.fixture
def page(browser: Browser, room: Showroom) -> Iterator[Page]:
    with visit(browser, room.url, zone="Asia/Kolkata") as visitor:
        visitor.page.on("dialog", lambda dialog: dialog.accept())
        yield visitor.page


def report(room: Showroom) -> None:
    """Report progress of the job: a step, a baseline and a checkpoint."""
    database = room.api.services.database
    version = room.shelf.registry.get("mood", 1, "local")
    values = {
        "digest": version.digest,
        "files": {path: {"sha256": entry.sha256, "size": entry.size} for path, entry in version.files.items()},
        "config": dict(version.config),
    }
    event = NewEvent(
        kind="validated", step=0, message="Baseline", data={"splits": {"validation": {"rows": 140, "accuracy": 0.7}}}
    )
    step = NewEvent(
        kind="metrics",
        step=5,
        type="metrics",
        message="Step 5",
        data={"step": 5, "train_loss": 0.4, "accuracy": 0.8, "valid_rows": 140},
    )
    settled = {"optimizer": "adamw", "metric": "last", "model": {"architecture": "linear"}}
    log(room.api, room.job, event, NewEvent(kind="settled", step=0, message="linear", data=settled), step)
    with database.transaction() as session:
        now = database.now(session)
        for number, loss in ((3, 0.25), (5, 0.3125)):
            checkpoint = JobCheckpoint(
                id=new_id("ftckpt"),
                job_id=room.job,
                owner="local",
                step=number,
                metrics={"valid_loss": loss},
                created_at=now,
                **values,
            )
            logbook.add_checkpoint(session, checkpoint)
        progress = JobProgress(phase="training", progress=0.4, seconds_left=150.0)
        JobClaims(database).report(session, room.job, 1, progress, [])


def test_a_job_shows_its_baseline_time_and_checkpoints_and_can_be_paused(page: Page, room: Showroom) -> None:
    report(room)
    page.goto(f"{room.url}/#/jobs/{room.job}")
    expect(page.get_by_role("img", name="Metrics. Latest:")).to_have_attribute(
        "aria-label", re.compile("Baseline accuracy 70")
    )
    left = page.get_by_role("region", name="Progress").get_by_text(re.compile(r"^[12]\u202fmin"))
    expect(left).to_be_visible()
    created = datetime.fromtimestamp(room.api.services.jobs.events(room.job, "local").items[-1].created_at, UTC)
    shown = page.locator(".log time").first
    expect(shown).to_have_text((created + PATNA).strftime("%H:%M:%S"))
    assert serious_problems(page) == []
    checkpoint = page.get_by_role("row", name="0.3125")
    expect(checkpoint.get_by_role("cell", name="5", exact=True)).to_be_visible()
    expect(checkpoint.get_by_text("kept")).to_be_visible()
    expect(page.get_by_text("its last weights are kept")).to_be_visible()
    page.get_by_text("Intermediate results (1)").click()
    expect(page.get_by_role("row", name="0.25")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    wait_until(lambda: room.api.services.jobs.get(room.job, "local").pause_requested)
    claims = JobClaims(room.api.services.database)
    with room.api.services.database.transaction() as session:
        claims.requeue(session, room.job, 1, lost=False)  # the worker has stopped the trainer
    expect(page.get_by_text("Paused. If you resume the job")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("The job continues as soon as a worker is free")).to_be_visible()
    with room.api.services.database.transaction() as session:
        claims.claim(session, "worker", 600.0, 3, TRAINING_LANE)
    write_step(room.api, room.job, 6, 0.25)
    expect(page.locator(".legend").first).to_contain_text("Training loss 0.25")
    checkpoint.get_by_role("link", name="Try").click()
    model = page.get_by_label("Model", exact=True)
    expect(model).to_have_value(re.compile("ftckpt-"))
    page.get_by_label("Texts", exact=True).fill("a text")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".bars li").first).to_be_visible()


def test_a_file_is_uploaded_downloaded_and_deleted(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/files")
    content = b"text,label\none,a\n"
    page.get_by_label("Choose a data file").set_input_files(
        {"name": "mine.csv", "mimeType": "text/csv", "buffer": content}
    )
    row = page.get_by_role("row", name="mine.csv")
    with page.expect_download() as download:
        row.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "mine.csv"
    assert Path(download.value.path()).read_bytes() == content
    expect(row.get_by_text("–")).to_be_visible()  # no job has used it
    expect(page.get_by_role("row", name="a.csv").get_by_role("link", name="1 job")).to_be_visible()
    row.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    assert "mine.csv" not in [file.filename for file in room.api.services.files.list("local").items]


def test_the_settings_are_listed_with_their_meaning(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/settings")
    expect(page.locator("details.group")).not_to_have_count(0)
    expect(page.get_by_role("row", name="OSTINATO_DATA_DIR")).to_have_count(0)  # the groups are folded up
    for group in page.locator("details.group summary").all():
        group.click()
    folder = page.get_by_role("row", name="OSTINATO_DATA_DIR")
    expect(folder).to_contain_text(room.api.settings.data_dir)
    expect(folder.get_by_text("changed")).to_be_visible()
    units = {"MAX_UPLOAD_BYTES": "512\u202fMiB", "REQUEST_TIMEOUT": "10\u202fmin", "STOP_SECONDS": "1.5\u202fs"}
    for name, value in units.items():
        expect(page.get_by_role("row", name=f"OSTINATO_{name}")).to_contain_text(value)
    expect(page.get_by_role("row", name="OSTINATO_API_KEYS").locator("code", has_text="ostinato keys")).to_be_visible()
    expect(page.get_by_text("No API keys: only this machine can reach the service.")).to_be_visible()
    assert serious_problems(page) == []


def test_a_setting_is_found_by_a_word_and_every_group_has_settings(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/settings")
    expect(page.locator("details.group")).not_to_have_count(0)
    folder = str(page.locator("script[type=module]").get_attribute("src")).rpartition("/")[0]
    titles = page.evaluate(f"import('{folder}/views/settings.js').then((s) => s.GROUPS.map(([title]) => title))")
    expect(page.locator("details.group strong")).to_have_text(titles)
    page.get_by_label("Find a setting").fill("Upload")
    expect(page.get_by_role("row", name="OSTINATO_MAX_UPLOAD_BYTES")).to_be_visible()
    expect(page.locator("details.group")).to_have_count(1)
    page.get_by_label("Find a setting").fill("")
    page.get_by_label("Only changed ones").check()
    expect(page.get_by_role("row", name="OSTINATO_DATA_DIR")).to_be_visible()
    expect(page.get_by_role("row", name="OSTINATO_MAX_UPLOAD_BYTES")).to_have_count(0)


def test_messages_can_be_dismissed_and_are_not_repeated(page: Page, room: Showroom) -> None:
    page.goto(f"{room.url}/#/models/mood")
    expect(page.locator("#toasts[role=status]")).to_be_attached()  # before the first message
    page.get_by_label("Alias", exact=True).fill("")
    for _ in range(2):
        page.get_by_role("button", name="Promote").click()
        expect(page.locator(".toast")).to_have_text(["Enter a name for the alias, such as champion.×"])
    page.get_by_role("button", name="Dismiss").press("Escape")
    expect(page.locator(".toast")).to_have_count(0)


def test_a_narrow_screen_shows_the_drop_zone_first_and_long_names_in_full(browser: Browser, room: Showroom) -> None:
    name = "a-model-with-a-name-of-sixty-characters-which-nobody-shorten"
    room.shelf.classifier(name)
    with visit(browser, room.url, width=380) as visitor:
        page = visitor.open()
        zone, models = page.locator(".drop"), page.get_by_role("heading", name="Newest models")
        expect(models).to_be_visible()
        boxes = zone.bounding_box(), models.bounding_box()
        assert boxes[0] and boxes[1] and boxes[0]["y"] < boxes[1]["y"]
        page = visitor.open(f"play?model={name}:1")
        full = page.locator(".full-name")
        expect(full).to_have_text(f"{name}:1 – LSTM")
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        page.get_by_label("Model", exact=True).select_option("mood:1")
        expect(full).to_be_empty()
