"""Chooses the mode (data type and kernel) in which each version is computed on this machine.

The speeds of the modes are measured once for each shape of network. The outputs in each data type other than float32
are compared with those in float32 once for each version. All results are stored, so a restarted engine does not measure
again. If there is too little time or memory, if an error occurs, or if an engine died during an attempt within the last
day, float32 is used and nothing is stored.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import torch

from app.engine import precision, timing
from app.engine.headroom import free_memory
from app.engine.measurements import Measurements
from app.engine.modes import GAIN, can_be_shared, least_gain, set_mode
from app.engine.precision import COMPARED, OutOfTime, Outputs, Subject
from app.wire.modes import ModeChoice, PrecisionCheck
from app.wire.probes import ProbeSet, encode
from models.config import ModelConfig
from models.kernels.modes import EXACT, ComputeMode, fixed_mode
from models.parameters import count

logger = logging.getLogger(__name__)
SECONDS = 5.0  # limit for all measurements of an engine, because loads of other versions wait for them
LEAST_DONE = 0.05  # share of a comparison that must be done before its duration is predicted
MARGIN = 256 * 2**20  # bytes that must stay free
MEASURED = 3 * 2**29  # maximum size in bytes of the networks whose speed is measured
ATTEMPT_SECONDS = 86_400.0  # how long a mark prevents another attempt; later, the cause may have been fixed
COPIES = 3  # maximum size of a network while it is built and compared, as a multiple of its float32 weights
MOST_IN_MEMORY = 1000  # measurements kept in memory; all others are read from their files
TOO_LATE = "there was not enough time for the measurement"
Measure = Callable[[ModelConfig, Sequence[ComputeMode], torch.device, int, float], Mapping[ComputeMode, float]]
S = TypeVar("S", bound=msgspec.Struct)


class Undecided(Exception):
    """The speed or the outputs of a mode could not be measured. The message states the reason."""


class _Speeds(msgspec.Struct, frozen=True):
    """The stored speeds of the `supported` modes. Modes that failed have no speed."""

    supported: list[str]
    speeds: dict[str, float]


class _Attempt(msgspec.Struct, frozen=True):
    """A mark that is stored during a measurement. The mark remains if the engine is killed.

    `started` is the Unix time at which the measurement began.
    """

    started: float


@dataclass(frozen=True, slots=True)
class UntunedVersion:
    """A version for which a mode is chosen.

    `probes` returns the probes, or None if there is no data on which types can be compared. `build` returns a new
    float32 network with the version's weights, on the CPU. If `shared` is true, the network of a base is computed for
    several versions, which OpenVINO cannot do.
    """

    digest: str
    subject: Subject
    probes: Callable[[], ProbeSet | None] = field(repr=False)
    build: Callable[[], Any] = field(repr=False)
    shared: bool = False


class Tuner:
    """Chooses modes for one engine with `threads` threads.

    `measurements` are the stored measurements for this kind of machine. All new measurements together take about
    `seconds` seconds. Once this time is used up, new versions are measured only by an engine that is started later.
    """

    def __init__(
        self, device: torch.device, threads: int, measurements: Measurements, measure: Measure = timing.measure,
        seconds: float = SECONDS,
    ) -> None:  # fmt: skip
        self.device, self.threads = device, threads
        self._measurements, self._measure, self._left = measurements, measure, seconds
        self._measured: dict[str, msgspec.Struct] = {}  # all measurements of this engine, even if they were not stored
        self._mark = ""
        self._closed = False
        self._lock = threading.Lock()  # held while a mark is stored, and while another thread removes it in `close`

    def close(self) -> None:
        """Prevent new measurements and remove the current mark, so that the exit does not look like a crash."""
        with self._lock:
            self._closed = True
            if self._mark:
                self._measurements.remove(self._mark)

    def choose(self, version: UntunedVersion) -> ModeChoice:
        """Return the fastest mode whose outputs differ from those of float32 by no more than the bounds."""
        config, start = version.subject.config, time.monotonic()
        fixed = fixed_mode(self.device, torch.float32, generates=config.task == "generation")
        if config.architecture == "linear":
            return ModeChoice(str(fixed), "a linear model has no kernels")
        try:
            speeds = self._speeds(config, fixed, start + self._left)
            allowed = {mode: speed for mode, speed in speeds.items() if not version.shared or can_be_shared(mode)}
            return self._fastest(version, fixed, allowed, start + self._left)
        except Undecided as reason:
            return ModeChoice(str(fixed), str(reason))
        finally:
            self._left = max(0.0, self._left - (time.monotonic() - start))

    def _fastest(
        self, version: UntunedVersion, fixed: ComputeMode, speeds: Mapping[ComputeMode, float], end: float
    ) -> ModeChoice:
        shown = {str(mode): round(speed, 3) for mode, speed in speeds.items()}
        checks: dict[str, PrecisionCheck] = {}
        reason = "no other mode is faster"
        exact = max(speed for mode, speed in speeds.items() if mode.type == EXACT)
        comparison = _Comparison(version, self.device, end)
        for mode in sorted(speeds, key=lambda mode: -speeds[mode]):
            if mode == fixed:
                break
            if speeds[mode] < least_gain(mode):
                continue
            if mode.type == EXACT:
                return ModeChoice(str(mode), "the fastest kernel", shown, checks)
            if speeds[mode] < GAIN * exact:
                continue
            try:
                check = checks[str(mode)] = self._check(comparison, mode)
            except Undecided as why:
                reason = str(why)
                continue
            if check.accepted:
                return ModeChoice(str(mode), "the fastest type whose outputs are within the bounds", shown, checks)
            reason = "the outputs of faster types differ too much from those of float32"
        return ModeChoice(str(fixed), reason, shown, checks)

    # --- measurements -------------------------------------------------------------------------------------------

    def _speeds(self, config: ModelConfig, fixed: ComputeMode, end: float) -> Mapping[ComputeMode, float]:
        """The speeds of all supported modes for networks of this shape, relative to the fixed mode."""
        if timing.measured_size(config) > MEASURED:
            raise Undecided("the network is too large to be measured")
        modes = timing.modes_of(config, self.device)
        modes = [fixed, *(mode for mode in modes if mode != fixed)]
        if len(modes) == 1:
            return {fixed: 1.0}
        key = f"speeds {json.dumps(timing.reduced(config).to_dict(), sort_keys=True)}"
        supported = [str(mode) for mode in modes]
        stored = self._load(key, _Speeds)
        if stored is None or stored.supported != supported or not {str(fixed)} <= set(stored.speeds) <= set(supported):
            with self._attempt(key, timing.measured_size(config), end):
                stored = self._time(config, modes, end)
            self._save(key, stored, lasting=len(stored.speeds) == len(modes))
        return {ComputeMode.parse(mode): speed for mode, speed in stored.speeds.items()}

    def _time(self, config: ModelConfig, modes: Sequence[ComputeMode], end: float) -> _Speeds:
        start = time.monotonic()
        measured = self._measure(config, modes, self.device, self.threads, end)
        if not measured:
            raise Undecided(TOO_LATE)
        shown = ", ".join(f"{mode} {speed:.2f}" for mode, speed in measured.items())
        logger.info("measured the speeds of the modes in %.1f s: %s", time.monotonic() - start, shown)
        return _Speeds([str(mode) for mode in modes], {str(mode): speed for mode, speed in measured.items()})

    def _check(self, comparison: _Comparison, mode: ComputeMode) -> PrecisionCheck:
        """Compare a mode with float32. Raises Undecided if there are no probes or the comparison is not possible."""
        version = comparison.version
        probes, config = comparison.probes, version.subject.config
        if probes is None:
            raise Undecided("there is no data on which a faster type could be compared with float32")
        bounds = (precision.AGREEMENT, precision.CHANGE, precision.TEXT, precision.COSINE)
        key = f"check {version.digest} {mode} {hashlib.sha256(encode(probes)).hexdigest()} {bounds}"
        stored = self._load(key, PrecisionCheck)
        if stored is None:
            start = time.monotonic()
            need = COPIES * 4 * count(config) + precision.outputs_size(config)
            with self._attempt(f"check {version.digest}", need, comparison.end):
                stored = comparison.run(mode, probes)
            self._save(key, stored)
            logger.info("compared %s with float32 in %.1f s: %s", mode, time.monotonic() - start, stored)
        return stored

    @contextmanager
    def _attempt(self, key: str, need: int, end: float) -> Iterator[None]:
        """Mark a measurement that needs `need` bytes as attempted while it runs.

        Raises Undecided if an attempt that began less than `ATTEMPT_SECONDS` ago has not finished: its engine may have
        died. Also raises Undecided if there is too little time or memory, if the mark cannot be stored, or after any
        error during the measurement.
        """
        key = f"attempt {key}"
        if time.monotonic() >= end:
            raise Undecided(TOO_LATE)
        earlier = self._measurements.load(key, _Attempt)
        if earlier is not None and abs(time.time() - earlier.started) < ATTEMPT_SECONDS:
            raise Undecided("an engine died during this measurement, or another engine is running it")
        if self._free() < need + MARGIN:
            raise Undecided("there is not enough free memory for the measurement")
        self._store_mark(key)
        try:
            yield
        except OutOfTime:
            raise Undecided(TOO_LATE) from None
        except Undecided:
            raise
        except Exception as error:
            logger.warning("a measurement failed", exc_info=True)
            raise Undecided(f"the measurement failed ({type(error).__name__})") from error
        finally:
            self._mark = ""
            self._measurements.remove(key)

    def _store_mark(self, key: str) -> None:
        with self._lock:
            if self._closed:
                raise Undecided(TOO_LATE)
            if not self._measurements.save(key, _Attempt(time.time())):
                raise Undecided("measurements cannot be stored")
            self._mark = key

    def _free(self) -> int:
        """The free memory for another network, in bytes."""
        if self.device.type == "cuda":
            return min(free_memory(), torch.cuda.mem_get_info(self.device)[0])
        return free_memory()

    def _load(self, key: str, type_: type[S]) -> S | None:
        stored = self._measured.get(key)
        return stored if isinstance(stored, type_) else self._measurements.load(key, type_)

    def _save(self, key: str, value: msgspec.Struct, *, lasting: bool = True) -> None:
        self._measured[key] = value
        if len(self._measured) > MOST_IN_MEMORY:
            del self._measured[next(iter(self._measured))]
        if lasting:
            self._measurements.save(key, value)


class _Comparison:
    """Compares modes of one version with float32. Only one network is in memory at a time."""

    def __init__(self, version: UntunedVersion, device: torch.device, end: float) -> None:
        self.version, self.device, self.end = version, device, end
        self._exact: list[Outputs] | None = None

    @cached_property
    def probes(self) -> ProbeSet | None:
        """The probes, or None if there are none or the outputs have no bounds. Reading them can take a second."""
        return self.version.probes() if self.version.subject.config.task in COMPARED else None

    def run(self, mode: ComputeMode, probes: ProbeSet) -> PrecisionCheck:
        subject = self.version.subject
        if self._exact is None:
            plain = fixed_mode(self.device, torch.float32, generates=False)
            with _built(self.version, plain, self.device) as network:
                self._exact = list(precision.outputs(subject, network, probes, torch.float32, self._go_on(2)))
            del network  # before the other network is built
        with _built(self.version, mode, self.device) as network:
            other = precision.outputs(subject, network, probes, mode.dtype, self._go_on(1))
            return precision.compare(subject, self._exact, other, probes.source)

    def _go_on(self, runs: int) -> precision.GoOn:
        """Return a function that checks whether `runs` runs, including the current one, can finish in time."""
        start = time.monotonic()

        def go_on(done: float) -> bool:
            now = time.monotonic()
            predicted = (now - start) * (runs / done - 1) if done >= LEAST_DONE else 0.0
            return now + predicted < self.end

        return go_on


@contextmanager
def _built(version: UntunedVersion, mode: ComputeMode, device: torch.device) -> Iterator[Any]:
    """Build a network for the duration of the block, and then free its memory."""
    network = version.build()
    try:
        set_mode(network, mode, device)
        yield network
    finally:
        del network
        gc.collect()
