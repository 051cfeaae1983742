"""Following a training job: its messages as they come, a live bar, the loss as a line of sparks, the time left.

Knows the job's and the events' JSON; polls, since a job may outlive any connection.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from app.cli.output import duration, headline, print_line, sparkline, warn
from app.errors import OstinatoError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from app.client import Client

ENDED = ("succeeded", "failed", "cancelled")
POLL = 0.5
PATIENCE = 60.0  # seconds that the service may be away (restarting) while a job is followed
PAGE = 100
KEPT_LOSSES = 400
FIGURES = (
    ("train_loss", "loss"),
    ("valid_loss", "validation loss"),
    ("full_valid_loss", "validation loss"),
    ("accuracy", "accuracy"),
    ("macro_f1", "macro F1"),
    ("bits_per_character", "bits per character"),
)


class Follower:
    """What has been seen of one job so far."""

    def __init__(self, client: Client, job_id: str) -> None:
        self._client = client
        self._path = f"/v1/fine_tuning/jobs/{job_id}"
        self._last: str | None = None  # the newest event seen
        self.job: dict[str, Any] = {}
        self.losses: list[float] = []

    def news(self) -> Iterator[dict[str, Any]]:
        """The events that came since the last call, oldest first. The job is read before them, so that none of an
        ended job's events is missed."""
        self.job = self._client.get(self._path)
        fresh: list[dict[str, Any]] = []
        for event in self._client.pages(f"{self._path}/events", limit=PAGE):
            if event["id"] == self._last:
                break
            fresh.append(event)
        if fresh:
            self._last = fresh[0]["id"]
        for event in reversed(fresh):
            self._note(event)
            yield event

    def _note(self, event: dict[str, Any]) -> None:
        loss = (event.get("data") or {}).get("train_loss")
        if event.get("type") == "metrics" and isinstance(loss, int | float):
            self.losses = [*self.losses[-KEPT_LOSSES:], float(loss)]

    @property
    def ended(self) -> bool:
        return self.job.get("status") in ENDED

    def polls(self) -> Iterator[list[dict[str, Any]]]:
        """News again and again until the job ends; a service that is away for a moment is waited for."""
        away_since: float | None = None
        while True:
            try:
                fresh = list(self.news())
                away_since = None
                yield fresh
                if self.ended:
                    return
            except OstinatoError as error:
                away_since = away_since or time.monotonic()
                if error.status < 500 or time.monotonic() - away_since > PATIENCE:
                    raise
            time.sleep(POLL)


def follow(client: Client, job_id: str, *, as_json: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Show a job until it ends (`quiet`: wait for that alone); the job as it ended."""
    follower = Follower(client, job_id)
    try:
        if quiet:
            for _ in follower.polls():
                pass
        elif as_json:
            for fresh in follower.polls():
                for event in fresh:
                    print_line(event)
        elif sys.stderr.isatty():
            _live(follower)
        else:
            _lines(follower)
    except KeyboardInterrupt:
        warn(f"\nthe job goes on; see it again with: ostinato jobs follow {job_id}")
        warn(f"or end it with: ostinato jobs cancel {job_id}")
        raise
    return follower.job


def conclude(job: dict[str, Any], version: dict[str, Any] | None) -> None:
    """The last lines of a followed job; exit status 1 unless it succeeded."""
    if job["status"] != "succeeded":
        error = job.get("error") or {}
        warn(f"{job['id']} {job['status']}" + (f": {error['message']}" if error.get("message") else ""))
        raise typer.Exit(1)
    reference = job["fine_tuned_model"]
    figures = headline((version or {}).get("metrics"))
    print(f"{reference} is ready" + (f": {figures}" if figures else ""))
    if (version or {}).get("task") == "generation":
        print(f'try it: ostinato generate --model {reference} "Once upon a time"')
    elif ((version or {}).get("config") or {}).get("input") != "features":
        print(f'try it: ostinato classify --model {reference} "some text"')


def line(event: dict[str, Any]) -> str | None:
    """What a log shows of an event; None for the figures of every few steps."""
    data = event.get("data") or {}
    if event.get("type") != "metrics":
        mark = {"warn": "warning: ", "error": "error: "}.get(event.get("level", ""), "")
        return mark + str(event.get("message", ""))
    if data.get("valid_loss") is None and data.get("full_valid_loss") is None:
        return None
    return figures(data)


def figures(data: dict[str, Any]) -> str:
    total = f"/{data['total_steps']}" if data.get("total_steps") else ""
    parts = [f"step {data.get('step')}{total}"]
    for key, name in FIGURES:
        value = data.get(key)
        if isinstance(value, int | float) and not any(p.startswith(f"{name} ") for p in parts):
            parts.append(f"{name} {value:.3f}")
    return " · ".join(parts)


def _lines(follower: Follower) -> None:
    for fresh in follower.polls():
        for text in filter(None, map(line, fresh)):
            print(text, flush=True)


def _live(follower: Follower) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        for fresh in follower.polls():
            for text in filter(None, map(line, fresh)):
                live.console.print(text, markup=False, highlight=False)
            live.update(_bar(follower, console))


def _bar(follower: Follower, console: Console) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    job = follower.job
    done = float(job.get("progress") or 0.0)
    finish = job.get("estimated_finish")
    left = f"{duration(finish - time.time())} left" if finish and not follower.ended else ""
    grid = Table.grid(padding=(0, 1))
    loss = f"loss {follower.losses[-1]:.3f}" if follower.losses else ""
    cells = (
        Text(str(job.get("phase") or job.get("status") or ""), style="bold"),
        ProgressBar(total=1.0, completed=done, width=max(10, min(40, console.width - 70))),
        Text(f"{done:4.0%}"),
        Text(loss),
        Text(sparkline(follower.losses, 20), style="cyan"),
        Text(left, style="dim"),
    )
    grid.add_row(*cells)
    return grid
