"""The fastest mode within the bounds is chosen, once for each machine; float32 if nothing can be compared."""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
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
    """Replaces the measurement of speeds: returns the given speeds, and counts its calls."""

    def __init__(self, speeds: Mapping[ComputeMode, float]) -> None:
        self.speeds, self.count = speeds, 0

    def __call__(
        self, config: ModelConfig, modes: Sequence[ComputeMode], device: torch.device, threads: int, end: float
    ) -> dict[ComputeMode, float]:
        self.count += 1
        return {mode: self.speeds[mode] for mode in modes if mode in self.speeds}


@pytest.fixture(autouse=True)
def every_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Act as if this processor supported bfloat16. Use fewer probes than usual, because emulated bfloat16 is slow.

    The bound for embeddings is wider than usual, because the weights of these networks are larger than usual.
    """
    monkeypatch.setattr(precision, "COSINE", 0.98)
    for module in (precision, probing):
        monkeypatch.setattr(module, "MOST", FEW)
    monkeypatch.setattr(choice, "KERNELS", ())
    monkeypatch.setattr(tuning.timing, "modes_of", lambda config, device: [PLAIN, HALF])


def tuner(folder: Path, speeds: Mapping[ComputeMode, float], seconds: float = 600.0) -> tuple[Tuner, Stopwatch]:
    watch = Stopwatch(speeds)
    return Tuner(b.CPU, 1, Measurements(folder), watch, seconds), watch


def saved(tmp_path: Path, task: str = "classification", **fields: Any) -> wire.Load:
    return b.write_checkpoint(tmp_path / "m", b.config("transformer", task, **fields))[1]


def untuned() -> tuning.UntunedVersion:
    shape = b.config("lstm", "classification")
    return tuning.UntunedVersion("d", precision.Subject(shape, b.CPU), lambda: None, lambda: None)


def test_the_fastest_type_is_chosen_if_its_answers_are_those_of_float32(tmp_path: Path) -> None:
    chooser, _ = tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})
    loaded = loader.load(saved(tmp_path), b.CPU, torch.float32, chooser)
    check = loaded.choice.checks["bfloat16/torch"]
    assert loaded.mode == HALF and loaded.dtype == torch.bfloat16
    assert check.accepted and check.rows == FEW and check.probes == "vocabulary"
    assert check.agreement is not None and check.agreement >= 0.995
    assert check.change is not None and 0 < check.change <= 0.02
    assert loaded.choice.speeds == {"float32/torch": 1.0, "bfloat16/torch": 2.0}


def test_a_language_model_is_compared_by_its_distributions(tmp_path: Path) -> None:
    chooser, _ = tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})
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
    chooser, _ = tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})
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
    chooser, _ = tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})
    assert loader.load(saved(tmp_path), b.CPU, torch.float32, chooser).mode == PLAIN


@pytest.mark.parametrize(("speed", "chosen"), [(1.15, PLAIN), (1.3, ComputeMode("float32", "openvino"))])
def test_openvino_must_be_a_fifth_faster(
    tmp_path: Path, speed: float, chosen: ComputeMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="needs the extra `openvino`")
    other = ComputeMode("float32", "openvino")
    monkeypatch.setattr(tuning.timing, "modes_of", lambda config, device: [PLAIN, other])
    chooser, _ = tuner(tmp_path, {PLAIN: 1.0, other: speed})
    assert loader.load(saved(tmp_path), b.CPU, torch.float32, chooser).mode == chosen


@pytest.mark.parametrize("speed", [0.5, 1.05])
def test_a_mode_that_is_hardly_faster_is_not_even_compared(tmp_path: Path, speed: float) -> None:
    chooser, _ = tuner(tmp_path, {PLAIN: 1.0, HALF: speed})
    loaded = loader.load(saved(tmp_path), b.CPU, torch.float32, chooser)
    assert loaded.mode == PLAIN and loaded.choice.checks == {} and "no other mode is faster" in loaded.choice.reason


@pytest.mark.parametrize(("task", "fields"), [("regression", {}), ("classification", {"input": "features"})])
def test_float32_is_kept_if_nothing_can_be_compared(tmp_path: Path, task: str, fields: dict[str, Any]) -> None:
    chooser, _ = tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})
    loaded = loader.load(saved(tmp_path, task, **fields), b.CPU, torch.float32, chooser)
    assert loaded.mode == PLAIN and "no data on which" in loaded.choice.reason


def test_numeric_inputs_are_compared_on_their_own_probes(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)  # with other rows, two labels can be too close for bfloat16
    rows = [wire.FeatureSequence(2, 3, torch.randn(2, 3, generator=random).numpy().tobytes()) for _ in range(FEW)]
    message = msgspec.structs.replace(saved(tmp_path, input="features"), probes=encode(ProbeSet(IMPORT, features=rows)))
    chooser, _ = tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})
    loaded = loader.load(message, b.CPU, torch.float32, chooser)
    assert loaded.mode == HALF, loaded.choice
    assert loaded.choice.checks["bfloat16/torch"].probes == IMPORT


def test_probes_are_not_read_if_nothing_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "probes_of", None)
    loaded = loader.load(saved(tmp_path), b.CPU, torch.float32, tuner(tmp_path, {PLAIN: 1.0, HALF: 1.0})[0])
    assert loaded.choice.reason == "no other mode is faster"


def test_other_kernels_of_float32_need_no_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "KERNELS", (reference,))
    monkeypatch.setattr(tuning.timing, "modes_of", lambda config, device: [PLAIN, COARSE])
    chooser, _ = tuner(tmp_path, {PLAIN: 1.0, COARSE: 1.5})
    loaded = loader.load(saved(tmp_path, "regression"), b.CPU, torch.float32, chooser)
    assert loaded.mode == COARSE and loaded.choice.reason == "the fastest kernel"


def test_another_type_must_be_clearly_faster_than_every_kernel_of_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "KERNELS", (reference,))
    monkeypatch.setattr(tuning.timing, "modes_of", lambda config, device: [PLAIN, HALF, COARSE])
    message = saved(tmp_path)
    for speed, best in ((1.55, COARSE), (1.8, HALF)):
        chooser, _ = tuner(tmp_path / str(speed), {PLAIN: 1.0, COARSE: 1.5, HALF: speed})
        assert loader.load(message, b.CPU, torch.float32, chooser).mode == best


def test_an_engine_that_starts_again_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message, folder = saved(tmp_path), tmp_path / "measurements"
    first, watch = tuner(folder, {PLAIN: 1.0, HALF: 2.0})
    before = loader.load(message, b.CPU, torch.float32, first).choice
    assert watch.count == 1
    monkeypatch.setattr(
        tuning, "_Comparison", lambda version, *_: SimpleNamespace(version=version, probes=version.probes())
    )
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


def test_the_number_of_measurements_in_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "MOST_IN_MEMORY", 2)
    chooser, watch = tuner(tmp_path / "measurements", {PLAIN: 1.0, HALF: 2.0})
    for name in ("a", "b", "c"):
        message = b.write_checkpoint(tmp_path / name, b.config("transformer", "classification"))[1]
        given = msgspec.structs.replace(message, name=name, probes=encode(ProbeSet(IMPORT, [[1, len(name)]] * FEW)))
        loader.load(given, b.CPU, torch.float32, chooser)
    assert len(chooser._measured) == 2 and watch.count == 1


def test_damaged_measurements_are_made_again(tmp_path: Path) -> None:
    message, folder = saved(tmp_path), tmp_path / "measurements"
    loader.load(message, b.CPU, torch.float32, tuner(folder, {PLAIN: 1.0, HALF: 2.0})[0])
    for path in folder.iterdir():
        path.write_bytes(b'{"supported": 3')
    chooser, watch = tuner(folder, {PLAIN: 1.0, HALF: 2.0})
    assert loader.load(message, b.CPU, torch.float32, chooser).mode == HALF and watch.count == 1


def test_a_comparison_that_takes_too_long_keeps_float32_and_is_repeated_by_the_next_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = saved(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(tuning._Comparison, "_go_on", lambda *_: lambda done: False)
        loaded = loader.load(message, b.CPU, torch.float32, tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})[0])
    assert loaded.mode == PLAIN and loaded.choice.checks == {} and loaded.choice.reason == tuning.TOO_LATE
    assert loader.load(message, b.CPU, torch.float32, tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})[0]).mode == HALF


def test_the_time_of_a_comparison_is_predicted_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(tuning.time, "monotonic", lambda: now)
    comparison = tuning._Comparison(untuned(), b.CPU, 110.0)
    first, last = comparison._go_on(2), comparison._go_on(1)
    now = 101.0
    assert first(0.01) and first(0.21) and not first(0.19)  # 1 s for a fifth of one run: 10 s for two runs
    assert last(0.11) and not last(0.09)
    now = 110.0
    assert not last(1.0)


def test_an_engine_whose_time_is_spent_measures_nothing_more(tmp_path: Path) -> None:
    chooser, watch = tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0}, seconds=0.0)
    loaded = loader.load(saved(tmp_path), b.CPU, torch.float32, chooser)
    assert loaded.mode == PLAIN and loaded.choice.reason == tuning.TOO_LATE and watch.count == 0


def test_an_engine_that_was_killed_while_measuring_does_not_measure_again(tmp_path: Path) -> None:
    message = saved(tmp_path)

    class Killed(BaseException):
        """Simulates SIGKILL, after which nothing is cleaned up."""

    def kill(*_: object) -> dict[ComputeMode, float]:
        raise Killed

    stored = Measurements(tmp_path / "measurements")
    stored.remove = lambda key: None  # type: ignore[method-assign]
    with pytest.raises(Killed):
        loader.load(message, b.CPU, torch.float32, Tuner(b.CPU, 1, stored, kill, 600.0))
    chooser, watch = tuner(tmp_path / "measurements", {PLAIN: 1.0, HALF: 2.0})
    loaded = loader.load(message, b.CPU, torch.float32, chooser)
    assert loaded.mode == PLAIN and "an engine died" in loaded.choice.reason and watch.count == 0


def test_an_engine_that_ends_as_asked_leaves_no_mark(tmp_path: Path) -> None:
    def stop(*_: object) -> dict[ComputeMode, float]:
        assert list(tmp_path.glob("measurements/*"))
        chooser.close()
        assert not list(tmp_path.glob("measurements/*"))
        return {}

    chooser = Tuner(b.CPU, 1, Measurements(tmp_path / "measurements"), stop, 600.0)
    assert loader.load(saved(tmp_path), b.CPU, torch.float32, chooser).choice.reason == tuning.TOO_LATE


def test_an_engine_that_ends_while_it_stores_a_mark_leaves_none(tmp_path: Path) -> None:
    stored, closing = Measurements(tmp_path / "measurements"), threading.Thread(target=lambda: chooser.close())
    save = stored.save

    def save_late(key: str, value: msgspec.Struct) -> bool:
        closing.start()
        return save(key, value)

    def measure(*_: object) -> dict[ComputeMode, float]:
        closing.join()
        assert not list(tmp_path.glob("measurements/*"))
        return {}

    stored.save = save_late  # type: ignore[method-assign]
    chooser = Tuner(b.CPU, 1, stored, measure, 600.0)
    assert loader.load(saved(tmp_path), b.CPU, torch.float32, chooser).choice.reason == tuning.TOO_LATE


def test_a_mark_is_valid_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message, now = saved(tmp_path), time.time()
    stored = Measurements(tmp_path / "measurements")
    stored.remove = lambda key: None  # type: ignore[method-assign]
    loader.load(message, b.CPU, torch.float32, Tuner(b.CPU, 1, stored, lambda *_: {}, 600.0))
    for age, count in ((tuning.ATTEMPT_SECONDS - 60, 0), (tuning.ATTEMPT_SECONDS + 60, 1)):
        monkeypatch.setattr(tuning.time, "time", lambda age=age: now + age)
        chooser, watch = tuner(tmp_path / "measurements", {PLAIN: 1.0, HALF: 2.0})
        loader.load(message, b.CPU, torch.float32, chooser)
        assert watch.count == count


def test_nothing_is_measured_without_free_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = saved(tmp_path)
    chooser, watch = tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})
    with monkeypatch.context() as patch:
        patch.setattr(tuning, "free_memory", lambda: tuning.MARGIN)
        loaded = loader.load(message, b.CPU, torch.float32, chooser)
    assert loaded.mode == PLAIN and "not enough free memory" in loaded.choice.reason and watch.count == 0


def test_a_shape_that_is_too_large_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "MEASURED", 1000)
    chooser, watch = tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})
    assert "too large" in loader.load(saved(tmp_path), b.CPU, torch.float32, chooser).choice.reason
    assert watch.count == 0


def test_nothing_is_measured_if_no_mark_can_be_stored(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    chooser, watch = tuner(tmp_path / "file" / "measurements", {PLAIN: 1.0, HALF: 2.0})
    loaded = loader.load(saved(tmp_path), b.CPU, torch.float32, chooser)
    assert loaded.mode == PLAIN and "cannot be stored" in loaded.choice.reason and watch.count == 0


@pytest.mark.parametrize("task", ["classification", "generation"])
def test_one_network_is_in_memory_at_a_time(tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[weakref.ref[Any]] = []

    def build(*arguments: Any) -> Any:
        assert all(reference() is None for reference in built)
        network = real(*arguments)
        built.append(weakref.ref(network))
        return network

    real = loader._network
    monkeypatch.setattr(loader, "_network", build)
    loaded = loader.load(saved(tmp_path, task), b.CPU, torch.float32, tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})[0])
    assert loaded.mode == HALF and len(built) == 3


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), MemoryError()])
@pytest.mark.parametrize("place", ["probes_of", "measure", "outputs"])
def test_any_error_of_a_measurement_keeps_the_fixed_mode(
    tmp_path: Path, error: Exception, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        raise error

    message, (chooser, _) = saved(tmp_path), tuner(tmp_path / "measurements", {PLAIN: 1.0, HALF: 2.0})
    if place == "measure":
        chooser = Tuner(b.CPU, 1, Measurements(tmp_path / "measurements"), fail, 600.0)
    else:
        monkeypatch.setattr(loader if place == "probes_of" else precision, place, fail)
    loaded = loader.load(message, b.CPU, torch.float32, chooser)
    assert loaded.mode == PLAIN and "failed" in loaded.choice.reason
    monkeypatch.undo()
    # Speeds that were measured before the failure are stored, but the failure is not.
    files = [json.loads(path.read_bytes()) for path in tmp_path.glob("measurements/*")]
    assert [sorted(file) for file in files] == ([] if place == "measure" else [["speeds", "supported"]])


def test_a_chosen_mode_that_cannot_be_used_is_replaced_by_the_fixed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(network: nn.Module, mode: ComputeMode, device: torch.device, threads: int) -> int:
        if mode == HALF:
            raise RuntimeError("no space for packed matrices")
        return 0

    monkeypatch.setattr(loader, "set_mode", fail)
    loaded = loader.load(saved(tmp_path), b.CPU, torch.float32, tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})[0])
    assert loaded.mode == PLAIN and "could not be used" in loaded.choice.reason


def test_probes_that_could_not_be_read_keep_the_fixed_mode(tmp_path: Path) -> None:
    message = msgspec.structs.replace(saved(tmp_path), probes=None)
    loaded = loader.load(message, b.CPU, torch.float32, tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})[0])
    assert loaded.mode == PLAIN and "could not be read" in loaded.choice.reason


def test_speeds_of_which_one_is_missing_are_not_stored(tmp_path: Path) -> None:
    message = saved(tmp_path)
    chooser, watch = tuner(tmp_path / "measurements", {PLAIN: 1.0})
    for _ in range(2):
        assert loader.load(message, b.CPU, torch.float32, chooser).mode == PLAIN
    assert watch.count == 1 and not list((tmp_path / "measurements").iterdir())


@pytest.mark.parametrize("task", ["classification", "generation"])
def test_a_type_with_other_embeddings_is_rejected(tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(network: Any, mode: ComputeMode, device: torch.device) -> int:
        if mode == HALF:
            embed = network.embed
            network.embed = lambda *arguments: embed(*arguments).roll(1, -1)
        return 0

    monkeypatch.setattr(tuning, "set_mode", spoil)
    loaded = loader.load(saved(tmp_path, task), b.CPU, torch.float32, tuner(tmp_path, {PLAIN: 1.0, HALF: 2.0})[0])
    check = loaded.choice.checks["bfloat16/torch"]
    assert loaded.mode == PLAIN and check.cosine is not None and check.cosine < precision.COSINE
