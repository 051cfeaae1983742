"""What every command prints with, and connects with. Knows terminals and the client; knows no command."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import settings

if TYPE_CHECKING:
    from app.client import Client

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SPARKS = "▁▂▃▄▅▆▇█"
UNITS = ("B", "kB", "MB", "GB", "TB")


def connect() -> Client:
    """A client of the service that the settings name."""
    from app.client import Client

    return Client.of(settings.load())


def print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_line(value: object) -> None:
    """One JSON document a line, at once, for what comes bit by bit."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def json_for_all(context: typer.Context) -> None:
    """Let a --json that stands before the subcommand (`jobs --json list`) count as its own."""
    context.default_map = {str(context.invoked_subcommand): {"as_json": True}}


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "nothing yet") -> None:
    """A table for people; whole lines, never cut, so that it can be searched and piped."""
    cells = [[clean(str("" if cell is None else cell)) for cell in row] for row in rows]
    if not cells:
        print(empty)
        return
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    for row in [[c.upper() for c in columns], *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line; what is empty is left out."""
    shown = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {clean(str(value))}")


def clean(text: str) -> str:
    """Text without what would move the cursor or colour the terminal."""
    return "".join(c if c.isprintable() else " " if c in "\n\t\r" else "�" for c in text)


def when(seconds: float | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def size(count: float | None) -> str:
    if count is None:
        return ""
    power = 0
    while count >= 1000 and power < len(UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.0f} {UNITS[power]}" if power == 0 else f"{count:.1f} {UNITS[power]}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def sparkline(values: Sequence[float], width: int = 30) -> str:
    """The course of some figures, the newest at the right; each place is the mean of its share."""
    if not values:
        return ""
    count = min(width, len(values))
    shares = [values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)]
    means = [sum(share) / len(share) for share in shares]
    low, high = min(means), max(means)
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARKS[round((mean - low) * scale)] for mean in means)


def headline(metrics: dict[str, Any] | None) -> str:
    """The one or two figures that say how good a version is, on its test rows where there are any."""
    for part in ("test", "validation"):
        figures = (metrics or {}).get(part) or {}
        for name in ("bits_per_character", "micro_f1", "accuracy", "r2", "loss"):
            if isinstance(figures.get(name), int | float):
                return f"{part} {name.replace('_', ' ')} {figures[name]:.3f}"
    return ""


def warn(message: str) -> None:
    print(message, file=sys.stderr)
