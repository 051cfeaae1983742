"""What the page of a job says about its checkpoints, its attempts and its trials."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from app.db.paging import new_id
from app.jobs import logbook
from app.jobs.records import JobCheckpoint, NewEvent, attempt_lost
from tests.clients.browser import PATIENCE, visit
from tests.clients.console import claimed_job, log, write_step
from tests.serving import Api

expect.set_options(timeout=PATIENCE)
pytestmark = pytest.mark.long


@pytest.fixture
def page(browser: Browser, api: Api) -> Iterator[Page]:
    with visit(browser, api.url, width=380) as visitor:
        yield visitor.page


def alter(page: Page, api: Api, id_: str, **values: Any) -> dict[str, Any]:
    """Change the job that the page receives. Its events end at once, so that none of them shows the stored job."""
    job: dict[str, Any] = httpx.get(f"{api.url}/v1/fine_tuning/jobs/{id_}").json() | values

    def answer(route: Route) -> None:
        route.fulfill(json=job)

    page.route(f"**/v1/fine_tuning/jobs/{id_}", answer)
    return job


def test_checkpoints_show_the_rule_and_the_figures_that_it_uses(page: Page, api: Api) -> None:
    job = claimed_job(api)
    settled = {"optimizer": "adamw", "metric": "macro_f1", "model": {"architecture": "lstm"}}
    log(api, job, NewEvent(kind="settled", step=0, message="lstm", data=settled))
    database = api.services.database
    with database.transaction() as session:
        for step, score in ((4, 0.9), (8, 0.895)):
            figures = {"valid_loss": 1.0 / step, "macro_f1": score, "valid_rows": 100.0}
            checkpoint = JobCheckpoint(
                id=new_id("ftckpt"), job_id=job, owner="local", step=step, metrics=figures, files={}, config={},
                digest="", created_at=database.now(session),
            )  # fmt: skip
            logbook.add_checkpoint(session, checkpoint)
    write_step(api, job, 8, 0.2)
    page.goto(f"{api.url}/#/jobs/{job}")
    card = page.locator("section.card", has=page.get_by_role("heading", name="Checkpoints"))
    expect(card.get_by_text("when it ties with the highest one so far and has a lower loss")).to_be_visible()
    rows = card.get_by_role("row")
    expect(rows.nth(1)).to_contain_text(re.compile(r"8.*89\.5.*0\.1250.*kept", re.DOTALL))
    expect(rows.nth(2)).to_contain_text(re.compile(r"4.*90\.0.*0\.2500", re.DOTALL))


def test_an_attempt_is_mentioned_only_after_a_lost_one(page: Page, api: Api) -> None:
    job = claimed_job(api)
    alter(page, api, job, attempt=2, status="running", phase="training")  # after a pause, or after the trials
    page.route(re.compile(r"/events\?stream=true"), lambda route: route.abort())
    page.goto(f"{api.url}/#/jobs/{job}")
    progress = page.get_by_role("region", name="Progress")
    expect(progress).to_contain_text("Training")
    expect(page.get_by_text("Attempt", exact=True)).to_have_count(0)
    page.unroute(re.compile(r"/events\?stream=true"))
    page.unroute(f"**/v1/fine_tuning/jobs/{job}")
    log(api, job, attempt_lost(1, "Attempt 1 ended: a fault", "a fault"))
    page.reload()
    expect(page.get_by_text("Attempt", exact=True)).to_have_count(2)  # the progress and the settings


def test_a_failed_auto_job_does_not_announce_trials(page: Page, api: Api) -> None:
    """A long word in its log is wrapped on a narrow screen."""
    job = claimed_job(api)
    log(api, job, NewEvent(kind="note", step=0, message="a-name-without-spaces" * 12))
    page.route(re.compile(r"/events\?stream=true"), lambda route: route.continue_())
    page.goto(f"{api.url}/#/jobs/{job}")
    expect(page.get_by_text("a-name-without-spaces").last).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    log_ = page.get_by_role("list", name="Job log")
    assert log_.evaluate("(list) => list.scrollWidth <= list.clientWidth")
    alter(page, api, job, model="auto", status="failed", trials=[], error={"code": "invalid_file", "message": "bad"})
    page.route(re.compile(r"/events\?stream=true"), lambda route: route.abort())
    page.reload()
    expect(page.get_by_text("The job ended before its first trial.")).to_be_visible()
    expect(page.get_by_text("No checkpoint was saved.")).to_be_visible()
