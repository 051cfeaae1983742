"""Creates the text of `docs/compatibility.md`, which lists the client calls that work and those that are refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
HEAD = """# Compatibility

`make accept CHECKS=clients` installs each unmodified client in a separate environment and calls a running service with
trained models. It checks the content of every reply and then writes this page. A *refused* call raises the client error
in the table, and the error's message contains the text in the table. A *missing* call does not exist in the tested
release of the client.

The newest release of each client is tested. The Python package `openai` is tested in the newest release of each of its
three major versions, and the npm packages are tested in their newest major versions, with Node 22, and in the newest
ones that run with Node 20.
"""


GENERATED = re.compile(r"\b([a-z_]+)[-_][0-9a-f]{24,}\b")  # an id, which is different in each run


def page(results: Iterable[Mapping[str, str]]) -> str:
    """Return the page. Each result has a `client`, a `call`, its `result` and a `detail`."""
    parts = [HEAD]
    for client, calls in groupby(sorted(results, key=lambda entry: entry["client"]), key=lambda entry: entry["client"]):
        parts.append(f"\n## {client}\n\n| call | result |\n|---|---|\n")
        parts += [f"| {entry['call']} | {_shown(entry)} |\n" for entry in calls]
    return "".join(parts)


def _shown(entry: Mapping[str, str]) -> str:
    detail = GENERATED.sub(r"\1-…", entry["detail"]).replace("|", "\\|").replace("\n", " ")
    return f"{entry['result']}: `{detail}`" if detail else entry["result"]
