"""The n-gram branch gets the bytes of the tokens and the document frequencies of the training rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.training.failures import StopRequested
from app.training.run.branch import bind_tokens, measure_frequencies
from models.tasks import build
from tests.training import runs
from tests.training.loops import build_loop


def test_frequencies_are_those_of_the_train_rows(tmp_path: Path) -> None:
    loop = build_loop(runs.make(tmp_path, "rows.csv", runs.table(), "linear"))
    dataset, network = loop.training.dataset, build(loop.settled.config)
    branch = bind_tokens(network, dataset)
    assert branch is not None
    measure_frequencies(branch, dataset, 100, lambda: None)
    _, buckets_N, _ = branch.count(
        torch.tensor([dataset.train.row(0).tolist()]), torch.tensor([len(dataset.train.row(0))])
    )
    assert branch.idf[buckets_N].min() >= 1  # an n-gram that is in every row has the weight 1
    assert branch.idf[buckets_N].max() < branch.idf.max()  # an empty bucket has the largest weight


def test_measuring_can_be_stopped(tmp_path: Path) -> None:
    loop = build_loop(runs.make(tmp_path, "rows.csv", runs.table(), "linear"))
    branch = bind_tokens(loop.training.network, loop.training.dataset)
    assert branch is not None

    def stop() -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        measure_frequencies(branch, loop.training.dataset, 100, stop)


def test_a_network_without_a_branch_has_nothing_to_prepare(tmp_path: Path) -> None:
    loop = build_loop(runs.make(tmp_path, "rows.csv", runs.table(), "gru", training={"ngrams": False, "width": 8}))
    assert bind_tokens(loop.training.network, loop.training.dataset) is None
