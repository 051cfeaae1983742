"""Batch norms are folded into linear layers, which then give the same results as both modules together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from app.errors import InvalidRequest
from app.importing.pytorch.batch_norm import fold_batch_norms
from app.importing.questions import Answers


def trained(width: int, **options: Any) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(width, **options)
    nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(norm.running_var, 0.3, 3.0)  # type: ignore[arg-type]
    if options.get("affine", True):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm.eval()


def arrays(**modules: nn.Module) -> dict[str, Any]:
    state = nn.ModuleDict(modules).state_dict()
    return {name: tensor.numpy().astype(np.float32) for name, tensor in state.items()}


@pytest.mark.parametrize("options", [{}, {"affine": False}])
@pytest.mark.parametrize("place", ["after:a", "before:b"])
def test_the_layer_gives_what_both_gave(place: str, options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    a, norm, b = nn.Linear(3, 4), trained(4, **options), nn.Linear(4, 2)
    folded = fold_batch_norms(arrays(a=a, norm=norm, b=b), Answers({"batch_norm": place}))
    assert set(folded) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    x = torch.randn(50, 3)
    with torch.no_grad():
        expected = b(norm(a(x))).numpy()
    hidden = x.numpy() @ folded["a.weight"].T + folded["a.bias"]
    assert np.abs(hidden @ folded["b.weight"].T + folded["b.bias"] - expected).max() < 1e-5


def test_one_possible_place_is_assumed_and_told() -> None:
    answers = Answers({})
    fold_batch_norms(arrays(norm=trained(4), b=nn.Linear(4, 2)), answers)
    assert not answers.open and [line.split(":")[0] for line in answers.assumed] == [
        "batch_norm_eps=1e-05",
        "batch_norm=before",
    ]


def test_several_places_are_asked_about() -> None:
    answers = Answers({})
    fold_batch_norms(arrays(a=nn.Linear(3, 4), norm=trained(4), b=nn.Linear(4, 2)), answers)
    [question] = answers.open
    assert question.options == ("after:a", "before:b") and "'norm'" in question.text
    with pytest.raises(InvalidRequest, match="must be one of after:a, before:b"):
        fold_batch_norms(arrays(a=nn.Linear(3, 4), norm=trained(4), b=nn.Linear(4, 2)), Answers({"batch_norm": "no"}))


def test_what_cannot_absorb_a_norm_is_left_as_it_is() -> None:
    for modules in (
        {"embedding": nn.Embedding(9, 4), "norm": trained(4)},
        {"fc": nn.Linear(4, 2, bias=False), "norm": trained(4)},
        {"fc": nn.Linear(3, 2), "norm": trained(4)},
        {"fc": nn.Linear(4, 2)},
    ):
        tensors = arrays(**modules)
        assert fold_batch_norms(tensors, Answers({})) is tensors
