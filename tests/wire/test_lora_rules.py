"""The option `lora`: the ranges of its values, and the versions to which it applies."""

from __future__ import annotations

from typing import Any

import pytest

from app.wire.ranges import OptionError
from app.wire.training_options import LoraOptions, TrainingOptions
from app.wire.training_rules import TrainingKind, check, check_base

TUNED = TrainingKind("transformer", "classification", tuned=True)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"r": 0}, "lora.r"),
        ({"r": 1025}, "lora.r"),
        ({"alpha": 0.0}, "lora.alpha"),
        ({"dropout": 1.0}, "lora.dropout"),
        ({"target_modules": []}, "lora.target_modules"),
        ({"target_modules": ["qkv", "qkv"]}, "lora.target_modules"),
        ({"target_modules": ["q_proj"]}, "lora.target_modules"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(values: dict[str, Any], field: str) -> None:
    check(TrainingOptions(lora=LoraOptions(target_modules=["out"])), TUNED)
    with pytest.raises(OptionError) as caught:
        check(TrainingOptions(lora=LoraOptions(**values)), TUNED)
    assert caught.value.field == field


def test_an_adapter_requires_a_transformer_with_weights_of_its_own() -> None:
    options = TrainingOptions(lora=LoraOptions())
    for kind in (TrainingKind("gru", tuned=True), TrainingKind("linear", tuned=True), TrainingKind("transformer")):
        with pytest.raises(OptionError, match=r"training\.lora applies only to"):
            check(options, kind)
    with pytest.raises(OptionError, match="that head_only freezes"):
        check(TrainingOptions(lora=LoraOptions(), head_only=True), TUNED)
    check_base(options, {"architecture": "transformer"})
    with pytest.raises(OptionError, match="is an adapter itself; name its base"):
        check_base(options, {"architecture": "transformer", "adapter": {"base": "0" * 64}})
