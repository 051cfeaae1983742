"""The loss of each task, and the sums of losses over pieces of a batch and over batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from app.training.loop.batches import IGNORED, Batch
from app.training.loop.objective import Objective, build_objective
from models.interface import Context
from tests.models.configurations import (
    batch,
    built,
    classifier,
    classifiers,
    generator,
    generators,
    loss,
    targets,
    with_branches,
)
from tests.training import runs
from tests.training.loops import run_loop

CLASSIFIERS = classifiers()


def test_a_language_model_learns_from_real_steps_only() -> None:
    network = generator(generators()["gru"])
    ids_BT, lengths_B = batch(network.config)
    targets_BT = torch.randint(23, ids_BT.shape)
    targets_BT[0, :4] = IGNORED
    logits_BTV = network.logits(network(ids_BT, Context(lengths_B)))
    for smoothing in (0.0, 0.2):
        expected_BT = functional.cross_entropy(
            logits_BTV.transpose(1, 2), targets_BT, reduction="none", label_smoothing=smoothing
        )
        expected_BT[torch.arange(ids_BT.shape[1]) >= lengths_B[:, None]] = 0.0
        expected = expected_BT.sum() / (int(lengths_B.sum()) - 4)
        torch.testing.assert_close(loss(network, ids_BT, lengths_B, targets_BT, None, smoothing), expected)
    assert loss(network, ids_BT, lengths_B, torch.full_like(ids_BT, IGNORED)).item() == 0.0


def test_classes_have_weights() -> None:
    network = classifier(CLASSIFIERS["lstm-mean-tokens"])
    inputs, lengths_B = batch(network.config)
    targets_B, weights_C = targets(network.config), torch.tensor([1.0, 3.0, 0.5])
    expected = functional.cross_entropy(network(inputs, lengths_B), targets_B, weights_C, label_smoothing=0.1)
    torch.testing.assert_close(loss(network, inputs, lengths_B, targets_B, weights_C, 0.1), expected)


@pytest.mark.parametrize("name", ["linear-classification-ngrams", "gru-classification-ngrams"])
def test_a_branch_has_one_logistic_loss_per_label(name: str) -> None:
    config = with_branches()[name]
    network: Any = built(config).eval()
    inputs, lengths_B = batch(config)
    targets_B = targets(config)
    outcome = build_objective(network, [1.0, 3.0, 0.5], 0.1)(Batch(inputs, lengths_B, targets_B))
    scores_BC = network.outputs(inputs, lengths_B)[-1]
    rows_B = [
        functional.binary_cross_entropy_with_logits(scores_C, (torch.arange(3) == target).float()) * weight
        for scores_C, target, weight in zip(scores_BC, targets_B, torch.tensor([1.0, 3.0, 0.5])[targets_B], strict=True)
    ]
    expected = torch.stack(rows_B).sum()
    torch.testing.assert_close(outcome.loss if name.startswith("linear") else outcome.branch, expected)


def test_the_losses_of_labels_and_of_values() -> None:
    network = classifier(CLASSIFIERS["gru-multilabel"])
    inputs, lengths_B = batch(network.config)
    targets_BC, logits_BC = targets(network.config).float(), network(inputs, lengths_B)
    expected = functional.binary_cross_entropy_with_logits(logits_BC, targets_BC)
    torch.testing.assert_close(loss(network, inputs, lengths_B, targets_BC), expected)
    smooth = functional.binary_cross_entropy_with_logits(logits_BC, targets_BC * 0.8 + 0.1)
    torch.testing.assert_close(loss(network, inputs, lengths_B, targets_BC, None, 0.2), smooth)
    weights_C = torch.tensor([1.0, 2.0, 3.0, 0.5])
    weighted = functional.binary_cross_entropy_with_logits(logits_BC, targets_BC, pos_weight=weights_C)
    torch.testing.assert_close(loss(network, inputs, lengths_B, targets_BC, weights_C), weighted)
    network = classifier(CLASSIFIERS["gru-regression"])
    targets_B, value_B1 = targets(network.config), network(inputs, lengths_B)
    torch.testing.assert_close(loss(network, inputs, lengths_B, targets_B), ((value_B1[:, 0] - targets_B) ** 2).mean())


def measured(measure: Objective, whole: Batch, cuts: list[slice]) -> tuple[float, float, int, int]:
    make = Batch if whole.learned_N is None else Batch.of_text
    pieces = [make(whole.inputs[cut], whole.lengths_B[cut], whole.targets[cut]) for cut in cuts]
    outcomes = [measure(piece) for piece in pieces]
    return (
        sum(float(outcome.loss.detach()) for outcome in outcomes),
        sum(map(measure.weight, pieces)),
        sum(int(outcome.correct) for outcome in outcomes),
        sum(outcome.count for outcome in outcomes),
    )


@pytest.mark.parametrize("name", ["lstm-mean-tokens", "gru-multilabel", "gru-regression", "generate"])
def test_pieces_add_up_to_the_whole(name: str) -> None:
    network: Any = generator(generators()["gru"]) if name == "generate" else classifier(CLASSIFIERS[name])
    inputs, lengths_B = batch(network.config)
    padding_BT = torch.arange(inputs.shape[1]) >= lengths_B[:, None]
    weights = {"lstm-mean-tokens": [5.0, 1.0, 0.1], "gru-multilabel": [0.3, 2.0, 0.7, 1.0]}.get(name)
    measure = build_objective(network, weights, 0.1)
    if name == "generate":
        whole = Batch.of_text(inputs, lengths_B, inputs.masked_fill(padding_BT, IGNORED))
    else:
        whole = Batch(inputs, lengths_B, targets(network.config))
    expected = measured(measure, whole, [slice(0, 4)])
    for cuts in ([slice(0, 1), slice(1, 4)], [slice(n, n + 1) for n in range(4)]):
        assert measured(measure, whole, cuts) == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_make_rare_labels_count_as_much(tmp_path: Path) -> None:
    """The texts are equal, and nine of ten are labelled 'common'.

    With balanced weights, both labels are equally likely.
    """
    rows = [f"same words here,{('common', 'rare')[n % 10 == 0]},{('train', 'val')[n >= 180]}" for n in range(200)]
    table = "\n".join(["text,label,split", *rows])
    options = {
        "width": 16,
        "layers": 1,
        "epochs": 20,
        "learning_rate": 0.02,
        "label_smoothing": 0.0,
        "dropout": 0.0,
        "ngrams": False,
    }
    shares = {}
    for name, weights in (("plain", None), ("balanced", "balanced")):
        training = options | ({} if weights is None else {"class_weights": weights})
        network = run_loop(runs.make(tmp_path / name, "a.csv", table, "gru", training=training)).training.network.eval()
        with torch.no_grad():
            shares[name] = float(network(torch.tensor([[5, 6, 7]]), torch.tensor([3])).softmax(1)[0, 1])
    assert shares["plain"] < 0.25 and 0.35 < shares["balanced"] < 0.65


@pytest.mark.parametrize("kind", ["text", "features"])
def test_two_batches_of_eight_are_one_of_sixteen(kind: str, tmp_path: Path) -> None:
    rows = []
    for n, (text, label) in enumerate(runs.sentences(20)):
        inputs = {"text": text} if kind == "text" else {"features": [[n % 5, k] for k in range(2 + n % 3)]}
        rows.append(inputs | {"label": label, "split": "train" if n < 16 else "val"})
    content, weights = "\n".join(map(json.dumps, rows)), []
    training = {"width": 16, "layers": 1, "max_steps": 4, "dropout": 0.0, "optimizer": "sgd", "learning_rate": 0.05}
    for batch_size, accumulation in ((16, 1), (8, 2), (4, 4)):
        options = training | {"batch_size": batch_size, "accumulation": accumulation, "class_weights": {"bad": 3.0}}
        if kind == "text":  # AdaGrad would divide tiny gradients by their own size, and enlarge their rounding errors
            options["ngrams"] = False
        run = runs.make(tmp_path / str(batch_size), "a.jsonl", content, "gru", training=options)
        weights.append(run_loop(run, token_dropout=0.0).weights)
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], atol=1e-6, rtol=1e-6)
