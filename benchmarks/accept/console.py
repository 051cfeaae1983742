"""Measures the console in a real Chromium: its views with thousands of jobs and a long curve, and its first paint.

Each view is timed with ten models, ten jobs and a curve of ten points, and again with many more of each. The additional
database rows are copies of those of a real training run. For a quick run, set ACCEPT_FACTOR to a smaller number.
"""

from __future__ import annotations

import http.server
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import insert, select

from app.db.database import Database
from app.db.paging import new_id
from app.db.tables import FileRow, JobEventRow, JobRow, ModelRow, TableBase, VersionRow
from app.settings import Settings
from benchmarks.accept.record import Record, Skip
from benchmarks.browser import chromium
from benchmarks.service import Service, running, wait_until

ROOT = Path(__file__).parents[2]
FEW = 10  # models, jobs, files, and points of the curve
FACTOR = int(os.environ.get("ACCEPT_FACTOR", "1000"))  # FEW * FACTOR jobs, a tenth as many models
SLOWDOWN, PAINT = 3.0, 2.0  # bounds, as multiples of the time with few rows and of the first paint of an empty page
VISITS, PAINTS = 5, 9
PATIENCE = 60_000.0  # milliseconds
CHUNK = 5000  # rows per statement
FIRST_PAINT = """() => new Promise((found) => {
  const look = () => {
    const [entry] = performance.getEntriesByName("first-paint");
    if (entry) found(entry.startTime); else requestAnimationFrame(look);
  };
  look();
})"""
EMPTY = b"<!doctype html><html><head><title>Empty</title></head><body><p>Empty</p></body></html>"


def check(record: Record, data: Path | None, folder: Path) -> None:
    program = chromium()
    if program is None:
        raise Skip("Chromium is missing: install the package `chromium`")
    with running(folder / "data") as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        copies = Copies(service)
        copies.grow(models=FEW, jobs=FEW, points=FEW)
        few = times(browser, service.url, copies)
        copies.grow(models=FEW * FACTOR // 10, jobs=FEW * FACTOR, points=10 * FEW * FACTOR)
        many = times(browser, service.url, copies)
        record.notes["milliseconds"] = {name: [round(1e3 * few[name]), round(1e3 * many[name])] for name in few}
        for name in few:
            record.at_most(f"{name}: time as a multiple of the time with few rows", many[name] / few[name], SLOWDOWN)
        with empty_page() as url:
            ours, empty = first_paint(browser, service.url), first_paint(browser, url)
        record.notes["first paint, milliseconds"] = {"console": round(ours, 1), "empty page": round(empty, 1)}
        record.at_most("first paint as a multiple of that of an empty page", ours / empty, PAINT)
        browser.close()


class Copies:
    """Copies the database rows of a training run, to create many models, jobs and points of a curve."""

    def __init__(self, service: Service) -> None:
        file = service.upload(ROOT / "examples" / "messages.csv")
        job = service.train(model="linear", training_file=file)
        ended = service.finish(job["id"], 600)
        if ended["status"] != "succeeded":
            raise RuntimeError(f"the training run failed: {ended['error']}")
        self.version: str = ended["fine_tuned_model"]
        self.evaluation_id = _evaluate(service, self.version, file)
        self.job_id, self._database = job["id"], Database(Settings(data_dir=str(service.data)).database)
        self._models, self._jobs, self._points = 1, 1, 0

    def grow(self, *, models: int, jobs: int, points: int) -> None:
        """Copy rows until there are `models` models, `jobs` jobs, and a curve with `points` copied points."""
        self._copy(ModelRow, self._models, models, lambda number, row: {"name": f"copy-{number}"})
        self._copy(VersionRow, self._models, models, lambda number, row: {"model": f"copy-{number}", "id": None})
        self._copy(JobRow, self._jobs, jobs, lambda number, row: {"id": new_id("ftjob")})
        self._copy(FileRow, self._jobs, jobs, lambda number, row: {"id": new_id("file")})
        now = time.time()
        self._insert(
            JobEventRow,
            [
                {
                    "id": new_id("ftevent"), "job_id": self.job_id, "kind": "metrics", "step": step, "type": "metrics",
                    "level": "info", "message": f"Step {step}", "data": {"step": step, "train_loss": 1 / step},
                    "created_at": now,
                }
                for step in range(10**6 + self._points, 10**6 + points)
            ],
        )  # fmt: skip
        self._models, self._jobs, self._points = models, jobs, points

    def _copy(
        self, table: type[TableBase], start: int, end: int, change: Callable[[int, dict[str, Any]], dict[str, Any]]
    ) -> None:
        columns = [column.name for column in table.__table__.columns]
        with self._database.read() as session:
            source = session.scalars(select(table).order_by(table.__table__.columns["created_at"]).limit(1)).one()
            row = {name: getattr(source, name) for name in columns}
        copies = [row | change(number, row) for number in range(start, end)]
        self._insert(table, [{k: v for k, v in copy.items() if k != "id" or v is not None} for copy in copies])

    def _insert(self, table: type[TableBase], rows: list[dict[str, Any]]) -> None:
        for start in range(0, len(rows), CHUNK):
            with self._database.transaction() as session:
                session.execute(insert(table), rows[start : start + CHUNK])


def _evaluate(service: Service, version: str, file: str) -> str:
    """Evaluate a version on a file, and return the id of the evaluation."""
    reply = service.client.post("/v1/evaluations", json={"model": version, "file": file})
    id_: str = reply.raise_for_status().json()["id"]
    wait_until(lambda: service.client.get(f"/v1/evaluations/{id_}").json()["report"], 300, "the evaluation")
    return id_


def times(browser: Browser, url: str, copies: Copies) -> dict[str, float]:
    """Return the median seconds until each view is complete."""
    name, number = copies.version.split(":")
    places = {"home": "", "jobs": "jobs", "job": f"jobs/{copies.job_id}", "models": "models", "files": "files"}
    places |= {"traffic": "traffic", "new training": "train", "playground": "play", "compare": "compare"}
    places |= {"model": f"models/{name}", "version": f"models/{name}/{number}", "settings": "settings"}
    places |= {"evaluation": f"evaluations/{copies.evaluation_id}"}
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    seconds = {
        view: statistics.median(_visit(page, f"{url}/#/{place}", curve=view == "job") for _ in range(VISITS))
        for view, place in places.items()
    }
    page.close()
    return seconds


def _visit(page: Page, address: str, *, curve: bool) -> float:
    page.goto("about:blank")
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("main h1")
    page.locator(".loading").first.wait_for(state="detached")
    if curve:
        page.locator(".chart canvas").first.wait_for()
    return time.perf_counter() - began


@contextmanager
def empty_page() -> Iterator[str]:
    """Serve an empty page within the block. Yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(EMPTY)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def first_paint(browser: Browser, url: str) -> float:
    """Return the median milliseconds until the first paint of a page, without a cache."""
    measured: list[float] = []
    for _ in range(PAINTS):
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        measured.append(page.evaluate(FIRST_PAINT))
        context.close()
    return statistics.median(measured)
