"""Follows a job: prints its events and, at a terminal, a progress bar with the loss and the remaining time.

Events are polled rather than streamed, because a job may last longer than any connection.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from app.cli.output import duration, print_line, sparkline, warn
from app.cli.wording import in_own_words
from app.errors import OstinatoError
from app.wire.measurement import shown_metric, too_few, verdict
from app.wire.waiting import waits_for_disk
from app.wording import quantity

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from app.client import Client

ENDED = ("succeeded", "failed", "cancelled")
RUNNING = ("validating_files", "running")
POLL = 0.5  # seconds between two requests
PATIENCE = 60.0  # seconds for which the service may be unreachable, for example while it restarts
PAGE = 100
KEPT_LOSSES = 400
METRICS = (  # (key in an event's data, name to show)
    ("train_loss", "loss"),
    ("valid_loss", "validation loss"),
    ("full_valid_loss", "validation loss"),
    ("accuracy", "accuracy"),
    ("macro_f1", "macro F1"),
    ("r2", "r2"),
    ("bits_per_character", "bits per character"),
)
RATES = ("accuracy", "macro_f1", "r2")  # not shown if there are too few validation rows


def is_evaluation(job_id: str) -> bool:
    """Whether an id identifies an evaluation rather than a training job."""
    return job_id.startswith("evaljob-")


def path_of(job_id: str) -> str:
    """The API path of a training job or evaluation."""
    root = "/v1/evaluations" if is_evaluation(job_id) else "/v1/fine_tuning/jobs"
    return f"{root}/{job_id}"


def jobs_ahead(count: int) -> str:
    """The beginning of a sentence: "1 job is ahead" or "3 jobs are ahead"."""
    return f"{quantity(count, 'job')} {'is' if count == 1 else 'are'} ahead"


def queued(job: dict[str, Any]) -> str:
    """Describe a job that was queued, its place in the queue, and the command that follows it."""
    before = job.get("jobs_before")
    place = f"; {jobs_ahead(before)} of it" if before else ""
    return f"{job['id']} is queued{place}; follow it with: ostinato jobs follow {job['id']}"


class Follower:
    """A job's state as last reported by the service, and its training losses so far."""

    def __init__(self, client: Client, job_id: str, printed: Sequence[str] = (), *, patient: bool = True) -> None:
        self._client = client
        self._patient = patient
        self._printed = frozenset(printed)
        self._path = path_of(job_id)
        self._last: str | None = None  # id of the newest event seen
        self.job: dict[str, Any] = {}
        self.losses: list[float] = []
        self.full_disk = False  # whether an event has reported that the job waits because a disk is full

    def new_events(self) -> Iterator[dict[str, Any]]:
        """Read the job, then yield the events since the last call, oldest first.

        An ended job gets no more events. Therefore, no event is missed if the job is read before its events.
        """
        self.job = self._client.get(self._path)
        events: list[dict[str, Any]] = []
        for event in self._client.pages(f"{self._path}/events", limit=PAGE):  # newest first
            if event["id"] == self._last:
                break
            events.append(event)
        if events:
            self._last = events[0]["id"]
        for event in reversed(events):
            self._record_loss(event)
            self.full_disk = self.full_disk or waits_for_disk(event.get("data"))
            yield event

    def _record_loss(self, event: dict[str, Any]) -> None:
        loss = (event.get("data") or {}).get("train_loss")
        if event.get("type") == "metrics" and isinstance(loss, int | float):
            self.losses = [*self.losses[-KEPT_LOSSES:], float(loss)]

    def lines(self, events: Sequence[dict[str, Any]]) -> list[str]:
        """Format events as lines. Leaves out those that `render` omits, and messages that were already printed."""
        return [line for event in events if event.get("message") not in self._printed and (line := render(event))]

    @property
    def waiting(self) -> str:
        """A line with the number of jobs ahead of this job, or "" if there are none or if the job is not queued."""
        before = self.job.get("jobs_before")
        if self.job.get("status") != "queued" or not before:
            return ""
        return f"waiting: {jobs_ahead(before)} of this one"

    @property
    def trial(self) -> str:
        """The running trial of an auto job, such as `gru (2 of 3)`, or an empty string if there is none."""
        trials = self.job.get("trials") or []
        running = [(n, trial) for n, trial in enumerate(trials, start=1) if trial["status"] in RUNNING]
        return f"{running[0][1]['model']} ({running[0][0]} of {len(trials)})" if running else ""

    @property
    def ended(self) -> bool:
        return self.job.get("status") in ENDED

    def poll(self) -> Iterator[list[dict[str, Any]]]:
        """Poll the job until it ends, and yield the new events.

        If `patient` is false, polling also stops while the job waits because a disk is full. After a server error or a
        lost connection, polling is retried for PATIENCE seconds before the error is raised.
        """
        away_since: float | None = None
        while True:
            try:
                events = list(self.new_events())
                away_since = None
                yield events
                if self.ended or (self.full_disk and not self._patient):
                    return
            except OstinatoError as error:
                if error.status < 500 or (away_since is not None and time.monotonic() - away_since > PATIENCE):
                    raise
                if away_since is None:
                    away_since = time.monotonic()
                    warn(f"{in_own_words(error.message)}; trying again for up to {PATIENCE:.0f} seconds")
            time.sleep(POLL)


def follow(
    client: Client,
    job_id: str,
    *,
    as_json: bool = False,
    quiet: bool = False,
    printed: Sequence[str] = (),
    patient: bool = True,
) -> dict[str, Any]:
    """Show a job's events until it ends, and return the job. With `quiet`, nothing is printed.

    `printed` contains the messages that have already been shown; they are not printed again. If `patient` is false, the
    function also returns while the job waits because a disk is full.
    """
    follower = Follower(client, job_id, printed, patient=patient)
    try:
        if quiet:
            for _ in follower.poll():
                pass
        elif as_json:
            for events in follower.poll():
                for event in events:
                    print_line(event)
        elif sys.stderr.isatty():
            _show_live(follower)
        else:
            _print_lines(follower)
    except KeyboardInterrupt:
        warn(f"\nthe job continues; follow it again with: ostinato jobs follow {job_id}")
        warn(f"or cancel it with: ostinato jobs cancel {job_id}")
        raise
    return follower.job


def render(event: dict[str, Any]) -> str | None:
    """Format an event as one line. Return None for metrics without a validation loss, which arrive every few steps."""
    data = event.get("data") or {}
    if event.get("type") != "metrics":
        level = {"warn": "warning: ", "error": "error: "}.get(event.get("level", ""), "")
        return level + in_own_words(str(event.get("message", "")))
    if data.get("valid_loss") is None and data.get("full_valid_loss") is None:
        return None
    return render_metrics(data)


def render_metrics(data: dict[str, Any]) -> str:
    """An event's step and metrics: `step 20/60 · loss 0.300 · validation loss 0.400`."""
    total = f"/{data['total_steps']}" if data.get("total_steps") else ""
    parts = [f"step {data.get('step')}{total}"]
    rows = data.get("valid_rows")
    for key, name in METRICS:
        value = None if key in RATES and too_few(rows) else data.get(key)
        if isinstance(value, int | float) and not any(p.startswith(f"{name} ") for p in parts):
            parts.append(shown_metric(name, value))
    if too_few(rows):
        parts.append(verdict(rows))
    return " · ".join(parts)


def _print_lines(follower: Follower) -> None:
    waiting = ""
    for events in follower.poll():
        if follower.waiting not in ("", waiting):
            print(follower.waiting, flush=True)
        waiting = follower.waiting
        for line in follower.lines(events):
            print(line, flush=True)


def _show_live(follower: Follower) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        for events in follower.poll():
            for line in follower.lines(events):
                live.console.print(line, markup=False, highlight=False)
            live.update(_progress_bar(follower, console))


def _progress_bar(follower: Follower, console: Console) -> RenderableType:
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
        Text(follower.waiting or follower.trial or str(job.get("phase") or job.get("status") or ""), style="bold"),
        ProgressBar(total=1.0, completed=done, width=max(10, min(40, console.width - 70))),
        Text(f"{done:4.0%}"),
        Text(loss),
        Text(sparkline(follower.losses, 20), style="cyan"),
        Text(left, style="dim"),
    )
    grid.add_row(*cells)
    return grid
