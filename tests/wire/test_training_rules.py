"""Options that would have no effect on an architecture are rejected."""

from __future__ import annotations

from typing import Any

import pytest

from app.wire.ranges import OptionError
from app.wire.training_options import LoraOptions, TrainingOptions
from app.wire.training_rules import RESTRICTIONS, TrainingKind, applicable, check
from models.choices import ARCHITECTURES

OWN = {"heads": 4, "kv_heads": 2, "bidirectional": True}  # options that only some networks have
ALLOWED = {
    "transformer": {"heads", "kv_heads"},
    **{name: {"bidirectional"} for name in ("rnn", "lstm", "gru")},
    "linear": set(),
}


def refused(kind: TrainingKind) -> set[str]:
    return {r.field for r in RESTRICTIONS if r.field in OWN and r.excludes(kind)}


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "no-such-network"])
def test_an_architecture_has_only_the_options_that_are_declared_for_it(architecture: str) -> None:
    allowed = ALLOWED.get(architecture, set())  # a new network has no such option until a restriction names it
    assert refused(TrainingKind(architecture, "classification")) == OWN.keys() - allowed
    options = applicable(TrainingOptions(**OWN, layers=2), TrainingKind(architecture, "classification"))
    assert {name for name in OWN if getattr(options, name) is not None} == allowed


def test_an_unknown_architecture_may_have_every_option() -> None:
    assert refused(TrainingKind(None, "classification")) == set()


@pytest.mark.parametrize(
    ("architecture", "options", "field"),
    [
        ("gru", {"heads": 4}, "heads"),
        ("linear", {"kv_heads": 2}, "kv_heads"),
        ("linear", {"ngrams": False}, "ngrams"),
        ("transformer", {"bidirectional": False}, "bidirectional"),
        ("gru", {"head_only": True}, "head_only"),
        ("transformer", {"lora": LoraOptions()}, "lora"),
    ],
)
def test_the_error_names_the_option(architecture: str, options: dict[str, Any], field: str) -> None:
    with pytest.raises(OptionError) as caught:
        check(TrainingOptions(**options), TrainingKind(architecture, "classification"))
    assert caught.value.field == field
