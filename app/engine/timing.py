"""Measures how fast a processor computes networks of one shape in each of several modes."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator

from app.engine.modes import set_mode, supported_modes
from app.engine.openvino_body import KERNEL
from models import tasks
from models.config import ModelConfig
from models.cost import CORE_SPEED, predict
from models.interface import Context
from models.kernels.modes import ComputeMode
from models.parameters import count

logger = logging.getLogger(__name__)
LAYERS, VOCABULARY = 4, 8192  # maximum sizes of the measured network; all other sizes are those of the version
SECONDS = 0.5  # duration of the measurement of each workload, not counting the first call of each mode
LEAST, MOST = 3, 15  # the minimum and maximum number of rounds
COPIES = 5  # upper bound of the size of the networks in all modes together, as a multiple of the float32 size
CALL = 0.05  # a batch is made smaller if one core would need more than this many seconds

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Workload:
    """A typical call: `rows` rows of `steps` steps, or one step of `rows` sequences if the network generates text.

    If `shared` is true, all threads compute one call together; otherwise, each thread computes a separate call.
    """

    rows: int
    steps: int
    shared: bool


def workloads(config: ModelConfig) -> list[Workload]:
    """Return the calls that are measured for networks of this configuration."""
    if config.task == "generation":
        return [Workload(1, 1, True), Workload(8, 1, True)]
    longest = config.context_length
    batch = Workload(16, min(48, longest), False)
    while batch.rows > 2 and batch.rows * predict(config, batch.steps, CORE_SPEED) > CALL:
        batch = replace(batch, rows=batch.rows // 2)
    return [batch, Workload(1, min(24, longest), True)]


def measure(
    config: ModelConfig, modes: Sequence[ComputeMode], device: torch.device, threads: int, end: float = math.inf
) -> dict[ComputeMode, float]:
    """Return the speed of each mode, as a multiple of the speed of the first mode.

    Alternates between calls of all modes. Only the shortest call of each mode counts, because other programs on the
    machine can only prolong a call. The speed is the geometric mean over the workloads. Modes that fail are left out,
    but if the first mode fails, its error is raised. The result is empty if the measurement has not finished at the
    monotonic time `end`.
    """
    small = reduced(config)
    networks: dict[ComputeMode, Any] = {}
    speeds: dict[ComputeMode, list[float]] = {mode: [] for mode in modes}
    for workload in workloads(config):
        with _threads(threads if workload.shared else 1), torch.inference_mode():
            calls = _calls(small, modes, networks, workload, device, end)
            # Processor time excludes the time in which other programs run. It covers only this thread, so it cannot be
            # used for OpenVINO, which computes in separate threads.
            alone = not workload.shared and device.type == "cpu" and all(mode.kernel != KERNEL for mode in modes)
            seconds = _alternate(calls, time.thread_time if alone else time.perf_counter, end)
        if not seconds:
            return {}
        for mode, taken in seconds.items():
            speeds[mode].append(seconds[modes[0]] / taken)
    complete = [mode for mode in modes if len(speeds[mode]) == len(workloads(config))]
    return {mode: statistics.geometric_mean(speeds[mode]) for mode in complete}


def measured_size(config: ModelConfig) -> int:
    """The approximate size in bytes of all networks that `measure` has in memory at the same time."""
    return COPIES * 4 * count(reduced(config))


def _calls(
    config: ModelConfig, modes: Sequence[ComputeMode], networks: dict[ComputeMode, Any], workload: Workload,
    device: torch.device, end: float,
) -> dict[ComputeMode, Call]:  # fmt: skip
    """Create a call for each mode, run it once, and return the calls that succeeded.

    The result is empty if `end` has passed.
    """
    calls: dict[ComputeMode, Call] = {}
    for mode in modes:
        if time.monotonic() > end:
            return {}
        try:
            if mode not in networks:
                networks[mode] = _network(config, mode, device)
            call = _call(config, networks[mode], mode, workload, device)
            call()
        except RuntimeError as error:
            if not calls:
                raise
            logger.warning("%s does not work on this processor: %s", mode, error)
        else:
            calls[mode] = call
    return calls


def _alternate(
    calls: dict[ComputeMode, Call], clock: Callable[[], float], end: float = math.inf
) -> dict[ComputeMode, float]:
    """Run each call once per round, for about `SECONDS`, and return the shortest duration of each call.

    The result is empty if `end` passes before `LEAST` rounds are complete.
    """
    shortest = dict.fromkeys(calls, math.inf)
    start = time.perf_counter()
    for round_ in range(MOST):
        late = time.monotonic() > end
        if round_ >= LEAST and (late or time.perf_counter() - start > SECONDS):
            break
        if late:
            return {}
        for mode, call in calls.items():
            before = clock()
            call()
            shortest[mode] = min(shortest[mode], max(1e-9, clock() - before))
    return shortest


def modes_of(config: ModelConfig, device: torch.device) -> list[ComputeMode]:
    """The modes that the device supports for networks of this configuration."""
    network: Any = tasks.build_for_inference(reduced(config))
    return supported_modes(device, network, generates=config.task == "generation")


def reduced(config: ModelConfig) -> ModelConfig:
    """The configuration of the measured network: fewer layers and tokens, and no n-gram branch (it has no kernels)."""
    return replace(
        config, layers=min(config.layers, LAYERS), vocab_size=min(config.vocab_size, VOCABULARY), dropout=0.0,
        separator_id=0, pad_id=0, ngram_buckets=0, ngram_characters=0, ngram_words=0, ngram_tokens=0,
    )  # fmt: skip


def _network(config: ModelConfig, mode: ComputeMode, device: torch.device) -> Any:
    """A network with random weights of usual magnitude: undefined weights could be denormal numbers, which are slow."""
    network: Any = tasks.build_for_inference(config)
    random = Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.normal_(0.0, 0.02, generator=random)
    network.requires_grad_(False).eval()
    set_mode(network, mode, device)
    return network


def _call(config: ModelConfig, network: Any, mode: ComputeMode, workload: Workload, device: torch.device) -> Call:
    random = Generator().manual_seed(1)
    rows, steps = workload.rows, workload.steps
    if config.task == "generation":
        state = network.new_state(rows)
        ids_B1 = torch.randint(config.vocab_size, (rows, 1), generator=random).to(device)

        def step() -> object:
            state.reset(range(rows))
            return network.logits(network(ids_B1, Context(None, state))[:, 0]).argmax(-1).tolist()

        return step
    lengths_B = torch.linspace(max(1, steps * 3 // 4), steps, rows).long()
    lengths_B[-1] = steps
    if config.input == "tokens":
        inputs = torch.randint(config.vocab_size, (rows, steps), generator=random).to(device)
    else:
        inputs = torch.randn(rows, steps, config.features, generator=random).to(device, mode.dtype)
    score = network.embed if config.task == "embedding" else network
    return lambda: score(inputs, lengths_B).float().tolist()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set torch's number of threads for the duration of the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
