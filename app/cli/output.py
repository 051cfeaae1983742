"""Code shared by all commands: connects to the service, prints tables, and formats numbers and times."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from app import settings
from app.errors import InvalidRequest
from app.launcher import programs
from app.wire.measurement import shown_metric, too_few, verdict

if TYPE_CHECKING:
    from app.client import Client

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MOST_LISTED = 1_000_000  # the maximum value of --limit
DEFAULT_PORT = settings.Settings().port
SPARKS = "▁▂▃▄▅▆▇█"
UNITS = ("B", "kB", "MB", "GB", "TB")


def connect() -> Client:
    """Return a client for the service at OSTINATO_URL or, by default, for the service running on this machine."""
    from app.client import Client

    return Client.of(located(settings.load()))


def located(chosen: settings.Settings) -> settings.Settings:
    """Return the settings with the URL of a running service, unless they already specify a service.

    OSTINATO_URL, or a port other than the default, specifies a service. Otherwise, the URL of the service that
    `ostinato up` runs on the same data folder is used. Raises InvalidRequest if the port is 0 and no service is
    running.
    """
    if chosen.url or chosen.port not in (0, DEFAULT_PORT):
        return chosen
    url = programs.api_url(chosen.run_dir)
    if url is None and chosen.port == 0:
        raise InvalidRequest(
            f"no service is running for {chosen.data}; start it with: ostinato up, or set OSTINATO_URL to the address "
            "of another service"
        )
    return msgspec.structs.replace(chosen, url=url or "")


def print_json(value: object) -> None:
    """Print one JSON document, indented."""
    print(json.dumps(value, ensure_ascii=not _shows_unicode(), indent=2))


def print_line(value: object) -> None:
    """Print one JSON document on one line and flush the output, for streams of JSON lines."""
    print(json.dumps(value, ensure_ascii=not _shows_unicode()), flush=True)


def _shows_unicode() -> bool:
    """Whether standard output can encode all characters. If it cannot, non-ASCII characters are escaped in JSON."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


def json_for_all(context: typer.Context) -> None:
    """Apply a --json option given before the subcommand (`jobs --json list`) to the subcommand."""
    context.default_map = {str(context.invoked_subcommand): {"as_json": True}}


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "nothing yet") -> None:
    """Print a table, or `empty` if there are no rows. Never shortens lines, so that they can be searched and piped."""
    for line in table_lines(columns, rows, empty):
        print(line)


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> list[str]:
    """Return the lines that `table` prints."""
    cells = [[clean(str("" if cell is None else cell)) for cell in row] for row in rows]
    if not cells:
        return [empty]
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [[c.upper() for c in columns], *cells]
    ]


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair per line. Omits empty values."""
    shown = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {clean(str(value))}")


def clean(text: str) -> str:
    """Replace the control characters in `text`, which could move the cursor or change the terminal's colours."""
    return "".join(c if c.isprintable() else " " if c in "\n\t\r" else "�" for c in text)


def when(seconds: float | None) -> str:
    """Format a Unix time as a local date and time."""
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def size(count: float | None) -> str:
    """Format a number of bytes with a decimal unit: 1.2 kB."""
    if count is None:
        return ""
    power = 0
    while count >= 1000 and power < len(UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.0f} {UNITS[power]}" if power == 0 else f"{count:.1f} {UNITS[power]}"


def duration(seconds: float | None) -> str:
    """Format a number of seconds as 1:02 or 1:02:03."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def sparkline(values: Sequence[float], width: int = 30) -> str:
    """Plot `values` as a line of up to `width` block characters, with the newest value on the right.

    If there are more than `width` values, each character shows the mean of several consecutive values.
    """
    if not values:
        return ""
    count = min(width, len(values))
    shares = [values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)]
    means = [sum(share) / len(share) for share in shares]
    low, high = min(means), max(means)
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARKS[round((mean - low) * scale)] for mean in means)


def headline(metrics: dict[str, Any] | None) -> str:
    """A version's main quality metric: measured on test rows if possible, otherwise on validation rows.

    Skips splits with too few rows. If no other split has a metric, returns the number of rows in the skipped split.
    """
    splits = [(part, (metrics or {}).get(part) or {}) for part in ("test", "validation")]
    small = [(part, values["rows"]) for part, values in splits if too_few(values.get("rows"))]
    for part, values in splits:
        for name in ("bits_per_character", "micro_f1", "accuracy", "r2", "loss"):
            if isinstance(values.get(name), int | float) and (part, values.get("rows")) not in small:
                return f"{part} {shown_metric(name, values[name])}"
    return f"{small[0][0]} on {verdict(small[0][1])}" if small else ""


def aliases_of(item: dict[str, Any]) -> str:
    """A model's aliases with their versions (`@champion:2`), or a version's aliases (`@champion`)."""
    aliases = item["aliases"]
    if isinstance(aliases, dict):
        return " ".join(f"@{name}:{version}" for name, version in aliases.items())
    return " ".join(f"@{name}" for name in aliases)


def warn(message: str) -> None:
    """Print a line to standard error."""
    print(message, file=sys.stderr)
