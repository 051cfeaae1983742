"""Writes the results as tables to `docs/performance.md`, between its two markers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
HEAD = "| model | connections | ours | plain FastAPI + torch | ratio (promised) | ours p50 / p99 ms | offline limit |"


def _row(case: dict[str, Any], dtype: str) -> str:
    limit = case["offline"].get(dtype) or case["offline"].get(f"{dtype}-{case['connections']}", 0.0)
    return (
        f"| {case['model']} | {case['connections']} | {case['ours']:.0f} {case['unit']} | {case['plain']:.0f} "
        f"| **{case['ratio']:.2f}** (≥ {case['promised']}) | {case['p50_ms']:.0f} / {case['p99_ms']:.0f} "
        f"| {limit:.0f} |"
    )


def table(result: dict[str, Any]) -> str:
    """Format one result as a Markdown table with a title."""
    machine = result["machine"]
    title = (
        f"**{result['dtype']}** on {machine['processor']}, {machine['cores']} cores, torch {machine['torch']}; "
        f"medians of {result['rounds']} interleaved rounds:"
    )
    rows = [_row(case, result["dtype"]) for case in result["cases"]]
    return "\n".join([title, "", HEAD, "|---|---|---|---|---|---|---|", *rows])


def write_performance(results: Path, page: Path) -> str:
    """Replace the page's tables with new tables for all bench files, and return them."""
    tables = [table(json.loads(path.read_text())) for path in sorted(results.glob("bench-*.json"))]
    text = "\n\n".join(tables)
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return text
