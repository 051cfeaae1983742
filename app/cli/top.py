"""`ostinato top`: shows the engines' activity, continuously at a terminal, or once if the output is piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.output import Json, connect, print_json, size, table_lines
from app.errors import OstinatoError
from app.wording import quantity

if TYPE_CHECKING:
    from app.client import Client

COLUMNS = (
    "version", "type", "kernel", "requests/s", "read/s", "generated/s", "running", "waiting", "fill", "padding",
    "weights", "states", "prefixes",
)  # fmt: skip
WAITING, REJECTED = "ostinato_num_requests_waiting", "ostinato_rejected_total"
Every = Annotated[float, typer.Option("--every", min=0.1, max=3600, help="Seconds between two measurements.")]
Once = Annotated[bool, typer.Option("--once", help="Measure once, print a plain table and exit.")]
WorkCounts = dict[str, int]


def register(program: typer.Typer) -> None:
    program.command()(top)


def top(every: Every = 2.0, once: Once = False, as_json: Json = False) -> None:
    """Show each loaded version's requests, tokens, batches, data type and kernel, until Ctrl+C is pressed.

    If the output is piped, or with --once or --json, prints the figures for one period and exits.
    """
    with connect() as client:
        if as_json:
            print_json(measure(client, every).as_dict())
        elif once or not sys.stdout.isatty():
            print("\n".join(measure(client, every).lines()))
        else:
            _show_live(client, every)


@dataclass(frozen=True)
class Reading:
    """The service's state at one point in time."""

    at: float
    engines: list[dict[str, Any]]
    waiting: float  # admitted requests that wait, in the API process that answered
    rejected: float

    def work(self, pid: int, digest: str) -> WorkCounts | None:
        """The amount of work done for a version by the engine with this process id."""
        for engine in self.engines:
            for version in engine["versions"] if engine["pid"] == pid else ():
                if version["digest"] == digest:
                    work: WorkCounts = version["work"]
                    return work
        return None


@dataclass(frozen=True)
class Measurement:
    """The difference between two readings."""

    before: Reading
    after: Reading

    @property
    def seconds(self) -> float:
        return max(1e-9, self.after.at - self.before.at)

    def versions(self, engine: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The figures for each of an engine's versions.

        `fill` is the mean number of sequences per call, or None if there were no calls. `padding` is the fraction of
        padding among the tokens, or None if there were no tokens.
        """
        for version in engine["versions"]:
            old = self.before.work(engine["pid"], version["digest"])
            # If a version was not loaded at the first reading, all of its work counts.
            done = {name: max(0, count - (old or {}).get(name, 0)) for name, count in version["work"].items()}
            padded = done["padded_tokens"]
            yield {
                "version": version["ref"],
                "dtype": version["dtype"],
                "kernel": version["kernel"],
                "requests_per_second": done["requests"] / self.seconds,
                "prompt_tokens_per_second": done["prompt_tokens"] / self.seconds,
                "generated_tokens_per_second": done["generated_tokens"] / self.seconds,
                "running": version["running"],
                "waiting": version["waiting"],
                "fill": done["rows"] / done["calls"] if done["calls"] else None,
                "padding": 1 - done["prompt_tokens"] / padded if padded else None,
                "bytes": version["bytes"],
                "cache_bytes": version["cache_bytes"],
                "prefix_bytes": version["prefix_bytes"],
            }

    def as_dict(self) -> dict[str, Any]:
        engines = [
            {name: value for name, value in engine.items() if name != "versions"}
            | {"versions": list(self.versions(engine))}
            for engine in self.after.engines
        ]
        rejected = max(0.0, self.after.rejected - self.before.rejected) / self.seconds
        return {
            "seconds": self.seconds, "waiting": self.after.waiting, "rejected_per_second": rejected, "engines": engines,
        }  # fmt: skip

    def lines(self) -> list[str]:
        report = self.as_dict()
        lines = [f"queue: {report['waiting']:.0f} waiting, {report['rejected_per_second']:.1f} rejected/s"]
        for engine in report["engines"]:
            busy = f", busy for {engine['busy_seconds']:.1f} s" if engine["busy_seconds"] >= 0.1 else ""
            lines += ["", f"engine {engine['pid']}: {engine['device']}, {quantity(engine['threads'], 'thread')}{busy}"]
            lines += table_lines(COLUMNS, map(_cells, engine["versions"]), "no version is loaded")
        return lines if report["engines"] else [*lines, "", "no engine is running"]


def _cells(version: dict[str, Any]) -> list[str]:
    fill, padding = version["fill"], version["padding"]
    return [
        version["version"],
        version["dtype"],
        version["kernel"],
        f"{version['requests_per_second']:.1f}",
        f"{version['prompt_tokens_per_second']:.0f}",
        f"{version['generated_tokens_per_second']:.0f}",
        str(version["running"]),
        str(version["waiting"]),
        "-" if fill is None else f"{fill:.1f}",
        "-" if padding is None else f"{max(0.0, padding):.0%}",
        size(version["bytes"]),
        size(version["cache_bytes"]),
        size(version["prefix_bytes"]),
    ]


def measure(client: Client, every: float) -> Measurement:
    """Read the service's state twice, `every` seconds apart."""
    before = read(client)
    time.sleep(every)
    return Measurement(before, read(client))


def read(client: Client) -> Reading:
    engines = client.get("/v1/engine")["engines"]
    at = time.monotonic()
    text = b"".join(client.download("/metrics")).decode()
    return Reading(at, engines, _sum(text, WAITING), _sum(text, REJECTED))


def _sum(text: str, name: str) -> float:
    """Sum all series of a metric in the Prometheus text format."""
    lines = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _show_live(client: Client, every: float) -> None:
    """Refresh the table until Ctrl+C, even while the service restarts."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False, screen=True) as live:
        for lines in _screens(client, every):
            live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)


def _screens(client: Client, every: float) -> Iterator[list[str]]:
    before: Reading | None = None
    while True:
        try:
            after = read(client)
            yield ["measuring …"] if before is None else Measurement(before, after).lines()
            before = after
        except OstinatoError as error:
            if error.status < 500:
                raise
            before = None
            yield [error.message]
        time.sleep(every)
