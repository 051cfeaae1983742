"""Splits batches into smaller pieces after memory has run out. Each step still trains on the same examples."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from app.checkpoint import directory as checkpoint
from app.training.events import Events
from app.training.plan.config import Settled
from app.wire import shortage

OUTDATED = ("resume", "checkpoints")  # folders with files that the run wrote with the earlier settings


def reduce_pieces(run: Path, settled: Settled, events: Events) -> Settled:
    """Return the settings. If they needed too much memory, first reduce the size of pieces and restart at step 0."""
    short = shortage.read(run)
    if short is None or short.micro_tokens != settled.micro_tokens:
        return settled
    smaller = replace(settled, micro_tokens=max(1, settled.micro_tokens // shortage.DIVISOR))
    for name in OUTDATED:
        shutil.rmtree(run / name, ignore_errors=True)
    message = (
        f"memory ran out: the run restarts from step 0, with batches split into smaller pieces (of at most "
        f"{smaller.micro_tokens} instead of {settled.micro_tokens} tokens); each step still trains on the same examples"
    )
    events.note(shortage.NOTE, 0, message, "warn", micro_tokens=smaller.micro_tokens)
    checkpoint.write_json(run / "settled.json", smaller.to_dict())
    return smaller
