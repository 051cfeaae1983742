"""Prints the estimate for a training job: the network, its memory, and the training time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.cli.output import print_json, size
from app.cli.wording import in_own_words
from app.wording import quantity


def show_estimate(estimate: dict[str, Any], as_json: bool, printed: Sequence[str] = ()) -> None:
    """Print an estimate. Leaves out notes in `printed`, because they have already been shown."""
    if as_json:
        print_json(estimate)
        return
    for note in estimate["notes"]:
        if note["message"] not in printed:
            print(("warning: " if note["level"] == "warn" else "") + in_own_words(note["message"]))
    plans = estimate["plans"]
    for plan in plans:
        print(line(plan))
    if len(plans) > 1:
        most = "at most " if any(plan["ends_earlier"] for plan in plans) else ""
        print(f"together: {most}about {spoken(estimate['seconds'])}, up to {size(estimate['memory_bytes'])}")


def line(plan: dict[str, Any]) -> str:
    """Format a training run: `gru: 2 layers of 192, 1.3 M parameters, about 240 MB; 3,100 steps: about 4 min 10 s`."""
    layers = f"{quantity(plan['layers'], 'layer')} of {plan['width']}, " if plan["layers"] else ""
    head = f"{plan['architecture']}: {layers}{_millions(plan['parameters'])} parameters"
    earlier, seconds = plan["ends_earlier"], plan["seconds"]["total"]
    upper = "up to " if earlier else ""
    steps = f"{upper}{quantity(plan['steps'], 'step')}: " if plan["steps"] else ""
    time = f"{'at most ' if earlier else ''}about {spoken(seconds)} on this machine"
    return f"{head}, about {size(plan['memory']['total'])}; {steps}{time}" + (f" ({earlier})" if earlier else "")


def spoken(seconds: float) -> str:
    """Format a number of seconds: `8 s`, `4 min 10 s`, `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _millions(count: int) -> str:
    if count < 1_000_000:
        return f"{count:,}"
    return f"{count / 1e6:.1f} M"
