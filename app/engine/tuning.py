"""Chooses the mode, that is the number type and the kernel, in which each version is computed on this machine.

The speeds of the modes are measured once for each shape, and the outputs of a type other than float32 are compared with
those of float32 once for each version. Both are stored, so that an engine that starts again measures nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import torch

from app.engine import timing
from app.engine.measurements import Measurements
from app.engine.precision import COMPARED, Subject, compare
from app.engine.reply import is_out_of_memory
from app.wire.modes import ModeChoice, PrecisionCheck
from app.wire.probes import ProbeSet, encode
from models.config import ModelConfig
from models.kernels.modes import EXACT, ComputeMode, fixed_mode, set_mode

logger = logging.getLogger(__name__)
GAIN = 1.1  # another mode, or another type than float32, must be this many times as fast, because of noise
CHECK_SECONDS = 30.0  # maximum duration of a comparison, during which other versions wait to be loaded
Measure = Callable[[ModelConfig, Sequence[ComputeMode], torch.device, int], Mapping[ComputeMode, float]]


class _Speeds(msgspec.Struct, frozen=True):
    """The stored speeds of the `supported` modes. Modes that failed have no speed."""

    supported: list[str]
    speeds: dict[str, float]


@dataclass(frozen=True, slots=True)
class UntunedVersion:
    """A version for which a mode is chosen.

    `probes` returns the probes, or None if there is nothing on which types can be compared. `build` returns a new
    float32 network with the version's weights, on the CPU.
    """

    digest: str
    subject: Subject
    probes: Callable[[], ProbeSet | None] = field(repr=False)
    build: Callable[[], Any] = field(repr=False)


class Tuner:
    """Chooses modes for one engine with `threads` threads. `measurements` are those of this kind of machine."""

    def __init__(
        self, device: torch.device, threads: int, measurements: Measurements, measure: Measure = timing.measure
    ) -> None:
        self.device, self.threads = device, threads
        self._measurements, self._measure = measurements, measure

    def choose(self, version: UntunedVersion) -> ModeChoice:
        """Return the fastest mode whose outputs differ from those of float32 by no more than the bounds."""
        config = version.subject.config
        fixed = fixed_mode(self.device, torch.float32, generates=config.task == "generation")
        if config.architecture == "linear":
            return ModeChoice(str(fixed), "a linear model has no kernels")
        speeds = self._speeds(config, fixed)
        shown = {str(mode): round(speed, 3) for mode, speed in speeds.items()}
        checks: dict[str, PrecisionCheck] = {}
        reason = "no other mode is faster"
        exact = max(speed for mode, speed in speeds.items() if mode.type == EXACT)
        for mode in sorted(speeds, key=lambda mode: -speeds[mode]):
            if mode == fixed or speeds[mode] < GAIN:
                break
            if mode.type == EXACT:
                return ModeChoice(str(mode), "the fastest kernel", shown, checks)
            if speeds[mode] < GAIN * exact:
                continue
            check = self._check(version, mode)
            if check is None:
                reason = "there is nothing on which a faster type could be compared with float32"
                continue
            checks[str(mode)] = check
            if check.accepted:
                return ModeChoice(str(mode), "the fastest type within the bounds", shown, checks)
            reason = "the outputs of faster types differ too much from those of float32"
        return ModeChoice(str(fixed), reason, shown, checks)

    # --- speeds -------------------------------------------------------------------------------------------------

    def _speeds(self, config: ModelConfig, fixed: ComputeMode) -> Mapping[ComputeMode, float]:
        """The speeds of all supported modes for networks of this shape, relative to the fixed mode."""
        modes = timing.modes_of(config, self.device)
        modes = [fixed, *(mode for mode in modes if mode != fixed)]
        if len(modes) == 1:
            return {fixed: 1.0}
        key = f"speeds {json.dumps(timing.reduced(config).to_dict(), sort_keys=True)}"
        supported = [str(mode) for mode in modes]
        stored = self._measurements.load(key, _Speeds)
        if stored is None or stored.supported != supported:
            start = time.monotonic()
            measured = self._measure(config, modes, self.device, self.threads)
            stored = _Speeds(supported, {str(mode): speed for mode, speed in measured.items()})
            self._measurements.save(key, stored)
            shown = ", ".join(f"{mode} {speed:.2f}" for mode, speed in stored.speeds.items())
            logger.info("measured the modes of a shape in %.1f s: %s", time.monotonic() - start, shown)
        return {ComputeMode.parse(mode): speed for mode, speed in stored.speeds.items()}

    # --- comparisons --------------------------------------------------------------------------------------------

    def _check(self, version: UntunedVersion, mode: ComputeMode) -> PrecisionCheck | None:
        """Compare a mode with float32. None if there are no probes, or if the outputs have no bounds."""
        probes = version.probes() if version.subject.config.task in COMPARED else None
        if probes is None:
            return None
        key = f"check {version.digest} {mode} {hashlib.sha256(encode(probes)).hexdigest()}"
        stored = self._measurements.load(key, PrecisionCheck)
        if stored is None:
            start = time.monotonic()
            stored = self._compare(version, mode, probes, start + CHECK_SECONDS)
            self._measurements.save(key, stored)
            logger.info("compared %s with float32 in %.1f s: %s", mode, time.monotonic() - start, stored)
        return stored

    def _compare(self, version: UntunedVersion, mode: ComputeMode, probes: ProbeSet, end: float) -> PrecisionCheck:
        try:
            exact, other = version.build(), version.build()
            set_mode(exact, fixed_mode(self.device, torch.float32, generates=False), self.device)
            set_mode(other, mode, self.device)
            return compare(version.subject, exact, other, probes, mode.dtype, lambda: time.monotonic() < end)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                logger.exception("%s could not be compared with float32", mode)
            return PrecisionCheck(False, probes.source, 0)
