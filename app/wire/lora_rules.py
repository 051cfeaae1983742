"""The ranges and choices of the option `lora`, a low-rank adapter."""

from __future__ import annotations

from app.wire.ranges import OptionError, Range
from app.wire.training_options import LoraOptions
from app.wording import listed
from models.choices import ADAPTABLE

RANGES = {"r": Range(1, 1024), "alpha": Range(0, 100_000, above=True), "dropout": Range(0, 1, below=True)}


def check_lora(lora: LoraOptions, head_only: bool) -> None:
    """Raise OptionError for an invalid value, or if `head_only` is also set."""
    if head_only:
        raise OptionError("lora", "trains matrices that head_only freezes; leave out one of them")
    for name, bounds in RANGES.items():
        value = getattr(lora, name)
        if value is not None and (complaint := bounds.complaint(value)):
            raise OptionError(f"lora.{name}", complaint)
    targets = lora.target_modules
    if targets is not None and (not targets or len(set(targets)) < len(targets) or set(targets) - set(ADAPTABLE)):
        raise OptionError("lora.target_modules", f"must be a list of one or more of {listed(ADAPTABLE, 'and')}")
