"""The page of a job while trainers are killed or the job waits."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.jobs.claims import JobClaims
from app.jobs.records import TRAINING_LANE, Job, attempt_lost
from app.settings import Settings
from app.worker.resources import Resources
from tests.clients.browser import PATIENCE, visit
from tests.jobs.fixtures import FAKE, ROOT, Queue, until
from tests.serving import Api
from tests.worker.running import working

expect.set_options(timeout=PATIENCE)


@pytest.fixture
def page(browser: Browser, api: Api) -> Iterator[Page]:
    with visit(browser, api.url) as visitor:
        visitor.open()
        yield visitor.page


@pytest.fixture
def queue(api: Api) -> Queue:
    services = api.services
    return Queue(services.jobs, services.files, services.database)


@pytest.fixture
def resources(settings: Settings) -> Iterator[Resources]:
    """The resources of a worker with a fake trainer, which shares the API's data."""
    shared = Resources.of(settings, {**os.environ, "PYTHONPATH": str(ROOT)}, FAKE)
    yield shared
    shared.changes.close()
    shared.database.close()


def send(resources: Resources, job: Job, number: int) -> None:
    """Send the signal `number` to the job's trainer."""
    entry = resources.trainers.folder / f"{job.id}.json"
    os.kill(json.loads(entry.read_bytes())["pid"], number)


def test_a_killed_trainer_is_reported_and_its_job_goes_on(page: Page, queue: Queue, resources: Resources) -> None:
    job = queue.create("local", plan={"steps": 9, "holds": [5, 8], "resume_every": 2}, publish={"name": "mood"})
    page.goto(f"{page.url}jobs/{job.id}")
    with working(resources):
        expect(page.locator(".legend").first).to_contain_text("Training loss 0.2")  # attempt 1 waits at step 5
        send(resources, job, signal.SIGKILL)
        progress = page.get_by_role("region", name="Progress")
        ended = "Attempt 1 ended: the trainer ended unexpectedly (killed by SIGKILL)."
        expect(progress.get_by_text(ended)).to_be_visible()
        expect(page.locator(".legend").first).to_contain_text("Training loss 0.125")  # attempt 2 waits at step 8
        until(lambda: queue.get(job).attempt == 2)
        send(resources, job, signal.SIGUSR1)
        expect(page.get_by_text("Published as mood:1")).to_be_visible()


def test_a_finished_job_promotes_its_version_and_names_the_version_that_it_repeats(
    page: Page, queue: Queue, resources: Resources
) -> None:
    jobs = [queue.create("local", plan={"steps": 2}, publish={"name": "mood"}, seed=1) for _ in range(2)]
    with working(resources):
        until(lambda: queue.get(jobs[1]).fine_tuned_model is not None)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"{page.url}jobs/{jobs[0].id}")
    page.get_by_role("button", name="Promote to champion").click()
    expect(page.get_by_role("link", name="is @champion")).to_be_visible()
    expect(page.get_by_text("has the same weights as")).to_have_count(0)  # version 1 was the first
    page.goto(f"{page.url.partition('#')[0]}#/jobs/{jobs[1].id}")
    expect(page.get_by_text("This version has the same weights as mood:1.")).to_be_visible()
    page.get_by_role("button", name="Promote to champion").click()
    page.get_by_role("link", name="is @champion").click()
    assert resources.registry.model("mood", "local").aliases == {"champion": 2}
    expect(page.get_by_role("button", name="Roll back to version 1")).to_be_visible()


def test_the_list_of_jobs_is_kept_up_to_date(page: Page, api: Api, queue: Queue) -> None:
    queue.create("local", publish={"name": "mood"})
    page.goto(f"{page.url}jobs")
    expect(page.get_by_role("cell", name="queued")).to_be_visible()
    with api.services.database.transaction() as session:
        JobClaims(api.services.database).claim(session, "worker", 600.0, 3, TRAINING_LANE)
    expect(page.get_by_role("cell", name="checking files")).to_be_visible()


def test_the_home_page_counts_the_queue_and_lists_the_workers(page: Page, api: Api, queue: Queue) -> None:
    for _ in range(25):  # more than the newest jobs that the page shows
        queue.create("local", publish={"name": "mood"})
    page.reload()
    expect(page.get_by_text("Training jobs: 25 waiting.")).to_be_visible()
    expect(page.get_by_text("Jobs are waiting, but no worker is running a job.")).to_be_visible()
    with api.services.database.transaction() as session:
        JobClaims(api.services.database).claim(session, "worker-on-the-attic", 600.0, 3, TRAINING_LANE)
    expect(page.get_by_text("Training jobs: 1 running, 24 waiting.")).to_be_visible()
    workers = page.get_by_role("region", name="Workers", exact=True)
    expect(workers.get_by_role("cell", name="worker-on-the-attic")).to_be_visible()
    expect(workers.get_by_role("link", name="mood")).to_be_visible()


def test_a_view_that_the_service_could_not_fill_is_loaded_when_it_responds(page: Page, queue: Queue) -> None:
    queue.create("local", publish={"name": "mood"})
    lists = "**/v1/fine_tuning/jobs?*"
    page.route("**/livez", lambda route: route.abort())
    page.route(lists, lambda route: route.abort())
    page.goto(f"{page.url}jobs")
    expect(page.get_by_text("this page retries automatically")).to_be_visible()
    page.unroute(lists)
    page.unroute("**/livez")
    expect(page.get_by_role("cell", name="queued")).to_be_visible()


def test_a_job_that_waits_says_whether_it_was_interrupted(page: Page, api: Api, queue: Queue) -> None:
    claims = JobClaims(api.services.database)
    job = queue.create("local", publish={"name": "mood"})
    page.goto(f"{page.url}jobs/{job.id}")
    expect(page.get_by_text("Waiting for a worker; first in the queue.")).to_be_visible()
    for lost in (False, True):
        with api.services.database.transaction() as session:
            claimed = claims.claim(session, "worker", 600.0, 3, TRAINING_LANE)
            assert claimed is not None
            if lost:
                claims.log(session, job.id, [attempt_lost(claimed.attempt, "Attempt 2 ended: a fault", "a fault")])
            claims.requeue(session, job.id, claimed.attempt, lost=lost)
        expect(page.get_by_text("The job continues as soon as a worker is free; first in the queue.")).to_be_visible()
        expect(page.get_by_text("Attempt 2 ended: a fault.")).to_have_count(int(lost))
