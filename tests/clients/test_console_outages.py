"""The page of a job with a live curve, while an engine or the API is not running."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect

from app.settings import Settings
from tests.clients.browser import PATIENCE, chromium, visit
from tests.clients.console import claimed_job, write_step
from tests.serving import Api

AWAY = "Training does not need an engine, so this job continues."
expect.set_options(timeout=PATIENCE)
pytestmark = pytest.mark.long


@contextmanager
def engine_process(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Start a real engine. Kills it at the end."""
    socket = settings.socket_dir / "engine-0.sock"
    process = subprocess.Popen([sys.executable, "-m", "app.engine", "--socket", str(socket), "--threads", "1"])
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


@contextmanager
def following(api: Api) -> Iterator[tuple[Page, str]]:
    """Open the page of a job whose curve has one point."""
    job = claimed_job(api)
    write_step(api, job, 1, 1.0)
    with chromium() as browser, visit(browser, api.url) as visitor:
        page = visitor.open(f"jobs/{job}")
        expect_loss(page, "1")
        yield page, job


def expect_loss(page: Page, loss: str) -> None:
    expect(page.locator(".legend").first).to_contain_text(f"Training loss {loss}")


def test_a_killed_engine_is_reported_while_the_curve_goes_on(settings: Settings) -> None:
    with Api(settings) as api, engine_process(settings) as engine:
        api.wait_ready()
        with following(api) as (page, job):
            expect(page.get_by_text(AWAY)).to_have_count(0)
            engine.send_signal(signal.SIGKILL)
            expect(page.get_by_text(AWAY)).to_be_visible()
            write_step(api, job, 2, 0.5)
            expect_loss(page, "0.5")
            with engine_process(settings):
                expect(page.get_by_text(AWAY)).to_have_count(0)
                write_step(api, job, 3, 0.25)
                expect_loss(page, "0.25")


def test_a_curve_continues_after_a_restart_of_the_api(settings: Settings) -> None:
    with Api(settings) as api:
        port = int(api.url.rpartition(":")[2])
        with following(api) as (page, job):
            api.__exit__()
            expect(page.get_by_text("The service does not respond. Retrying…")).to_be_visible()
            with Api(settings, port) as again:
                write_step(again, job, 2, 0.5)
                expect_loss(page, "0.5")
                expect(page.get_by_text("The service does not respond")).to_be_hidden()
                assert page.get_by_role("list", name="Job log").get_by_text("Created fine-tuning job").count() == 1
