"""The fastest mode within the bounds is chosen, once for each machine; float32 if nothing can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from app.engine import loader, precision, probing, tuning
from app.engine.measurements import Measurements
from app.engine.tuning import Tuner
from app.wire import engine as wire
from app.wire.probes import IMPORT, ProbeSet, encode
from models.config import ModelConfig
from models.kernels import choice, reference
from models.kernels.modes import ComputeMode
from tests.engine import builders as b

PLAIN, HALF, COARSE = (
    ComputeMode("float32", "torch"),
    ComputeMode("bfloat16", "torch"),
    ComputeMode("float32", "reference"),
)

FEW = 30


class Stopwatch:
    """Measured speeds that a test determines; counts the measurements."""

    def __init__(self, speeds: Mapping[ComputeMode, float]) -> None:
        self.speeds, self.count = speeds, 0

    def __call__(
        self, config: ModelConfig, modes: Sequence[ComputeMode], device: torch.device, threads: int
    ) -> dict[ComputeMode, float]:
        self.count += 1
        return {mode: self.speeds[mode] for mode in modes if mode in self.speeds}


@pytest.fixture(autouse=True)
def every_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """This processor supports bfloat16. Fewer probes than usual are enough, because it may only emulate bfloat16."""
    for module in (precision, probing):
        monkeypatch.setattr(module, "MOST", FEW)
    monkeypatch.setattr(choice, "KERNELS", ())
    monkeypatch.setattr(tuning.timing, "modes_of", lambda config, device: [PLAIN, HALF])


def tuner(folder: Path | None, speeds: Mapping[ComputeMode, float]) -> tuple[Tuner, Stopwatch]:
    watch = Stopwatch(speeds)
    return Tuner(b.CPU, 1, Measurements(folder), watch), watch


def saved(tmp_path: Path, task: str = "classification", **fields: Any) -> wire.Load:
    return b.write_checkpoint(tmp_path / "m", b.config("transformer", task, **fields))[1]


def test_the_fastest_type_is_chosen_if_its_answers_are_those_of_float32(tmp_path: Path) -> None:
    chooser, _ = tuner(None, {PLAIN: 1.0, HALF: 2.0})
    loaded = loader.load(saved(tmp_path), b.CPU, torch.float32, chooser)
    check = loaded.choice.checks["bfloat16/torch"]
    assert loaded.mode == HALF and loaded.dtype == torch.bfloat16
    assert check.accepted and check.rows == FEW and check.probes == "vocabulary"
    assert check.agreement is not None and check.agreement >= 0.995
    assert check.change is not None and 0 < check.change <= 0.02
    assert loaded.choice.speeds == {"float32/torch": 1.0, "bfloat16/torch": 2.0}


def test_a_language_model_is_compared_by_its_distributions(tmp_path: Path) -> None:
    chooser, _ = tuner(None, {PLAIN: 1.0, HALF: 2.0})
    loaded = loader.load(saved(tmp_path, "generation"), b.CPU, torch.float32, chooser)
    check = loaded.choice.checks["bfloat16/torch"]
    assert check.accepted and check.agreement is None
    assert check.divergence is not None and 0 < check.divergence <= 0.005
    assert check.perplexity is not None and check.perplexity <= 0.005


@pytest.mark.parametrize("task", ["classification", "generation", "multilabel"])
def test_a_type_with_other_answers_is_rejected(tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(network: nn.Module, mode: ComputeMode, device: torch.device) -> int:
        with torch.no_grad():
            for weight in network.parameters() if mode == HALF else ():
                weight.add_(torch.randn_like(weight))
        network.to(mode.dtype)
        return 0

    monkeypatch.setattr(tuning, "set_mode", spoil)
    chooser, _ = tuner(None, {PLAIN: 1.0, HALF: 2.0})
    loaded = loader.load(saved(tmp_path, task), b.CPU, torch.float32, chooser)
    assert loaded.mode == PLAIN and "differ too much" in loaded.choice.reason
    assert not loaded.choice.checks["bfloat16/torch"].accepted


@pytest.mark.parametrize("faulty", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_rejected(
    tmp_path: Path, faulty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(network: nn.Module, mode: ComputeMode, device: torch.device) -> int:
        if mode == HALF:
            network.register_forward_hook(lambda *values: torch.full_like(values[-1], faulty))
        return 0

    monkeypatch.setattr(tuning, "set_mode", spoil)
    chooser, _ = tuner(None, {PLAIN: 1.0, HALF: 2.0})
    assert loader.load(saved(tmp_path), b.CPU, torch.float32, chooser).mode == PLAIN


@pytest.mark.parametrize("speed", [0.5, 1.05])
def test_a_mode_that_is_hardly_faster_is_not_even_compared(tmp_path: Path, speed: float) -> None:
    chooser, _ = tuner(None, {PLAIN: 1.0, HALF: speed})
    loaded = loader.load(saved(tmp_path), b.CPU, torch.float32, chooser)
    assert loaded.mode == PLAIN and loaded.choice.checks == {} and "no other mode is faster" in loaded.choice.reason


@pytest.mark.parametrize(("task", "fields"), [("regression", {}), ("classification", {"input": "features"})])
def test_float32_is_kept_if_nothing_can_be_compared(tmp_path: Path, task: str, fields: dict[str, Any]) -> None:
    chooser, _ = tuner(None, {PLAIN: 1.0, HALF: 2.0})
    loaded = loader.load(saved(tmp_path, task, **fields), b.CPU, torch.float32, chooser)
    assert loaded.mode == PLAIN and "nothing on which" in loaded.choice.reason


def test_numeric_inputs_are_compared_on_their_own_probes(tmp_path: Path) -> None:
    rows = [wire.FeatureSequence(2, 3, torch.randn(2, 3).numpy().tobytes()) for _ in range(FEW)]
    message = msgspec.structs.replace(saved(tmp_path, input="features"), probes=encode(ProbeSet(IMPORT, features=rows)))
    chooser, _ = tuner(None, {PLAIN: 1.0, HALF: 2.0})
    loaded = loader.load(message, b.CPU, torch.float32, chooser)
    assert loaded.mode == HALF and loaded.choice.checks["bfloat16/torch"].probes == IMPORT


def test_other_kernels_of_float32_need_no_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "KERNELS", (reference,))
    monkeypatch.setattr(tuning.timing, "modes_of", lambda config, device: [PLAIN, COARSE])
    chooser, _ = tuner(None, {PLAIN: 1.0, COARSE: 1.5})
    loaded = loader.load(saved(tmp_path, "regression"), b.CPU, torch.float32, chooser)
    assert loaded.mode == COARSE and loaded.choice.reason == "the fastest kernel"


def test_another_type_must_be_clearly_faster_than_every_kernel_of_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "KERNELS", (reference,))
    monkeypatch.setattr(tuning.timing, "modes_of", lambda config, device: [PLAIN, HALF, COARSE])
    message = saved(tmp_path)
    for speed, best in ((1.55, COARSE), (1.8, HALF)):
        chooser, _ = tuner(None, {PLAIN: 1.0, COARSE: 1.5, HALF: speed})
        assert loader.load(message, b.CPU, torch.float32, chooser).mode == best


def test_an_engine_that_starts_again_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message, folder = saved(tmp_path), tmp_path / "measurements"
    first, watch = tuner(folder, {PLAIN: 1.0, HALF: 2.0})
    before = loader.load(message, b.CPU, torch.float32, first).choice
    assert watch.count == 1
    monkeypatch.setattr(tuning, "compare", None)
    second, watch = tuner(folder, {PLAIN: 1.0, HALF: 0.1})
    assert loader.load(message, b.CPU, torch.float32, second).choice == before
    assert watch.count == 0


def test_new_probes_are_compared_again(tmp_path: Path) -> None:
    message, folder = saved(tmp_path), tmp_path / "measurements"
    for ids in ([1, 2], [3, 4]):
        given = msgspec.structs.replace(message, probes=encode(ProbeSet(IMPORT, [ids] * FEW)))
        loader.load(given, b.CPU, torch.float32, tuner(folder, {PLAIN: 1.0, HALF: 2.0})[0])
    assert len(list(folder.iterdir())) == 3  # the speeds, and two comparisons


def test_versions_of_one_shape_are_measured_once(tmp_path: Path) -> None:
    chooser, watch = tuner(tmp_path / "measurements", {PLAIN: 1.0, HALF: 2.0})
    for name in ("a", "b"):
        message = b.write_checkpoint(tmp_path / name, b.config("transformer", "classification"))[1]
        loader.load(msgspec.structs.replace(message, name=name), b.CPU, torch.float32, chooser)
    assert watch.count == 1


def test_damaged_measurements_are_made_again(tmp_path: Path) -> None:
    message, folder = saved(tmp_path), tmp_path / "measurements"
    loader.load(message, b.CPU, torch.float32, tuner(folder, {PLAIN: 1.0, HALF: 2.0})[0])
    for path in folder.iterdir():
        path.write_bytes(b'{"supported": 3')
    chooser, watch = tuner(folder, {PLAIN: 1.0, HALF: 2.0})
    assert loader.load(message, b.CPU, torch.float32, chooser).mode == HALF and watch.count == 1


def test_a_comparison_that_takes_too_long_keeps_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "CHECK_SECONDS", 0.0)
    chooser, _ = tuner(None, {PLAIN: 1.0, HALF: 2.0})
    loaded = loader.load(saved(tmp_path), b.CPU, torch.float32, chooser)
    assert loaded.mode == PLAIN and loaded.choice.checks["bfloat16/torch"].rows < FEW
