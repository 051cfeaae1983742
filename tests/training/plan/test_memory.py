"""The memory estimate is exact for weights and optimizer, and a bound for real steps. Too large runs are rejected."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.training.failures import TrainingFailure
from app.training.plan.config import Settled, settle
from app.training.plan.memory import check_memory, estimate_memory
from app.training.prepare.dataset import Dataset, Facts, Rows, Stream
from app.wire.trainer import DataFile, TrainSpec
from app.wire.training_memory import WeightMemory, least_memory, tuned_memory, weight_memory
from app.wire.training_options import TrainingOptions
from models.config import ModelConfig
from tests.training import runs
from tests.training.loops import build_loop, settled

PROGRAM = (sys.executable, "-m", "tests.training.plan.measured")
NGRAMS = {"ngram_buckets": 2**17, "ngram_characters": 5, "ngram_words": 2}
TEXT: dict[str, Any] = {"task": "classification", "vocab_size": 2048, "classes": 4}
LANGUAGE: dict[str, Any] = {"task": "generation", "ngram_buckets": 2**15, "ngram_tokens": 3}
BOTH = {"bidirectional": True, "pooling": "max"}


def plan(rows: int, steps: int, optimizer: str = "adamw", **model: Any) -> tuple[Settled, Dataset]:
    """A run whose batches have `rows` rows of `steps` tokens or numeric steps."""
    config = ModelConfig(context_length=max(64, steps), **model)
    choices = settled(
        model=config.to_dict(), batch_size=rows, accumulation=1, micro_tokens=16_384, total_steps=100, threads=1,
        optimizer=optimizer, averaging=0.99, learning_rate=1e-4, window=steps if config.task == "generation" else 0,
        class_weights=None, precision="float32", device="cpu", metric="loss", max_grad_norm=1.0, max_seconds=None,
        eval_rows=None, eval_every=1000, cooldown=0.3, branch_steps=100, branch_learning_rate=0.1,
    )  # fmt: skip
    part: Rows | Stream = Stream(np.zeros(rows * steps + 1, dtype=np.int32), rows * steps)
    if config.task != "generation":
        part = Rows(np.zeros(rows * steps, np.int32), np.arange(rows + 1) * steps, np.zeros(rows, np.int64))
    return choices, Dataset(Facts(config.task, config.input, "rows"), part, part, None, None)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak memory is read from /proc")
@pytest.mark.parametrize(
    ("rows", "steps", "optimizer", "model"),
    [
        (64, 128, "adamw", TEXT | {"architecture": "lstm", "width": 128, "layers": 2}),
        (32, 128, "muon", TEXT | BOTH | NGRAMS | {"architecture": "gru", "width": 64, "input_width": 128}),
        (32, 256, "adamw", TEXT | {"architecture": "transformer", "width": 128, "layers": 2, "heads": 4}),
        (4, 64, "sgd", TEXT | {"architecture": "gru", "width": 1024, "layers": 2}),
        (8, 128, "adamw", LANGUAGE | {"architecture": "lstm", "width": 256, "layers": 1, "vocab_size": 4096}),
        (4, 256, "muon", LANGUAGE | {"architecture": "transformer", "width": 128, "heads": 4, "vocab_size": 4096}),
    ],
    ids=["lstm", "gru with n-grams", "transformer", "wide gru", "lstm for text", "transformer for text"],
)
def test_the_estimate_is_near_the_peak_of_real_steps(
    rows: int, steps: int, optimizer: str, model: dict[str, Any]
) -> None:
    choices, dataset = plan(rows, steps, optimizer, **model)
    command = (*PROGRAM, json.dumps(choices.to_dict()), str(rows), str(steps))
    estimate = estimate_memory(choices, dataset)
    peaks: list[int] = []
    for _ in range(3):  # the peaks of equal runs differ by up to a half, since the allocator reuses memory differently
        peaks.append(int(subprocess.run(command, capture_output=True, check=True).stdout))
        if 0.7 * peaks[-1] < estimate.total - estimate.libraries < 1.5 * peaks[-1]:
            break
    else:
        pytest.fail(f"peaks of {peaks} bytes, but {estimate}")
    assert min(peaks) > 50_000_000, "too small to measure"


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
@pytest.mark.parametrize("model", ["gru", "transformer", "linear"])
def test_the_memory_of_weights_and_optimizer_is_exact(tmp_path: Path, model: str, optimizer: str) -> None:
    options = {} if model == "linear" else {"optimizer": optimizer}
    training = build_loop(runs.make(tmp_path, "a.csv", runs.table(60), model, training=options)).training
    gradients: list[int] = []
    step = training.optimizer.step

    def counted(rate: float) -> None:
        dense = [p.grad for p in training.network.parameters() if p.grad is not None and not p.grad.is_sparse]
        gradients.append(sum(gradient.nbytes for gradient in dense))
        step(rate)

    training.optimizer.step = counted  # type: ignore[method-assign]
    training.step()
    moments = [*training.optimizer.moments().items(), *training.branch_optimizer.moments().items()]
    kept = gradients[0] + sum(tensor.nbytes for tensor in training.averaged.tensors.values())
    kept += sum(tensor.nbytes for name, tensor in moments if not name.endswith(".step"))
    weights = sum(parameter.nbytes for parameter in training.network.parameters())
    choices = training.settled
    averaged = bool(training.averaged.tensors)
    assert weight_memory(choices.config, choices.optimizer, averaged=averaged) == WeightMemory(weights, kept)


def test_a_frozen_embedding_has_neither_gradients_nor_moments() -> None:
    config = ModelConfig(architecture="transformer", width=32, **TEXT)
    whole, frozen = (
        weight_memory(config, "adamw", averaged=False, freeze_embedding=freeze) for freeze in (False, True)
    )
    assert frozen.weights == whole.weights
    assert whole.optimizer - frozen.optimizer == 3 * 4 * 2048 * 32
    base = {"architecture": "transformer", "width": 32, **TEXT}
    assert tuned_memory(base, TrainingOptions(optimizer="adamw")) == frozen.total


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["rnn", "lstm", "gru", "transformer"]),
    st.sampled_from(["classification", "generation", None]),
    st.integers(1, 40),
    st.integers(1, 600),
    st.sampled_from([None, "adamw", "muon", "sgd"]),
)
def test_a_request_is_refused_only_if_the_trainer_would_refuse_it(
    model: str, task: str | None, layers: int, width: int, optimizer: str | None
) -> None:
    width = 8 * width if model == "transformer" else width
    options = TrainingOptions(layers=layers, width=width, optimizer=optimizer)
    spec = TrainSpec(model, DataFile("a", "a", "0"), 0, task=task, training=options)
    part: Rows | Stream = Stream(np.zeros(500, dtype=np.int32), 900)
    if task != "generation":
        part = Rows(np.zeros(190, np.int32), np.arange(0, 200, 10), np.zeros(19, np.int64))
    labels = {} if task == "generation" else {"labels": ["a", "b"], "label_counts": [10, 9]}
    shape = "stream" if task == "generation" else "rows"
    facts = Facts(task or "classification", "tokens", shape, vocab_size=300, **labels)  # type: ignore[arg-type]
    data = Dataset(facts, part, part, None, None)
    whole = estimate_memory(settle(spec, data, None, "cpu", 1), data)
    assert 0 < least_memory(model, task, options) <= whole.weights + whole.optimizer


def test_a_run_that_does_not_fit_is_refused_with_a_remedy() -> None:
    choices, dataset = plan(16, 64, **TEXT | {"architecture": "transformer", "width": 4096, "layers": 64, "heads": 4})
    estimate = estimate_memory(choices, dataset)
    check_memory(choices, estimate, estimate.total)
    with pytest.raises(TrainingFailure) as refused:
        check_memory(choices, estimate, 24 * 10**9)
    assert (refused.value.code, refused.value.param) == ("insufficient_memory", "training.width")
    assert "may use only 24.0 GB (OSTINATO_TRAINING_MEMORY)" in refused.value.message
    assert "fewer layers (there are 64)" in refused.value.message
    choices, dataset = plan(64, 256, **TEXT | {"architecture": "lstm", "width": 128})
    with pytest.raises(TrainingFailure) as refused:
        check_memory(choices, estimate_memory(choices, dataset), 400_000_000)
    assert refused.value.param == "training.batch_size" and "(it is 64)" in refused.value.message


def test_an_adapter_needs_memory_for_its_own_matrices_and_the_head() -> None:
    sizes = {"vocab_size": 50, "classes": 2, "width": 64, "heads": 2, "layers": 2}
    model = ModelConfig(architecture="transformer", task="classification", **sizes)  # type: ignore[arg-type]
    whole, head = (weight_memory(model, "adamw", averaged=False, head_only=alone) for alone in (False, True))
    adapter = weight_memory(model, "adamw", averaged=False, head_only=True, adapter=1024)
    assert adapter.weights == whole.weights + 4 * 1024
    assert adapter.optimizer == head.optimizer + 4 * 3 * 1024 < whole.optimizer / 4
