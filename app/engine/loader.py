"""Loads networks from checkpoint directories, in a separate thread, while the engine continues to answer requests.

The hashes of all files are checked before any file is parsed.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.checkpoint import directory as checkpoint
from app.checkpoint.adapter import check_weights
from app.checkpoint.directory import WEIGHTS, Checkpoint
from app.engine.modes import set_mode
from app.engine.precision import Subject
from app.engine.probing import probes_of
from app.engine.reply import is_out_of_memory
from app.engine.runner import Scaling
from app.engine.tuning import Tuner, UntunedVersion
from app.errors import CheckpointInvalid, OstinatoError, Unavailable
from app.tokenization.pieces import pieces
from app.tokenization.tokenizer import Tokenizer
from app.wire.engine import Load
from app.wire.modes import ModeChoice
from app.wire.probes import ProbeSet
from models import tasks
from models.config import ModelConfig
from models.kernels.modes import ComputeMode, fixed_mode

logger = logging.getLogger(__name__)
FIXED = "fixed by the settings"
PLAIN = ModeChoice("float32/torch", FIXED)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedNetwork:
    """A loaded checkpoint, in evaluation mode and without gradients.

    `scaling` normalises the columns of numeric input. `target` is the normalisation of a regression's target values;
    answers are converted back to the original units. `nbytes` is the size of the weights in memory, including copies in
    a kernel's own layout. `dtype` is the data type of the activations. `choice` is the chosen mode (weight type and
    kernel), with the reason for the choice.
    """

    digest: str
    name: str
    config: ModelConfig
    network: Any = field(repr=False)
    nbytes: int
    dtype: torch.dtype
    device: torch.device
    eos_id: int | None
    scaling: Scaling | None
    target: Scaling | None
    choice: ModeChoice = PLAIN

    @property
    def mode(self) -> ComputeMode:
        """The weight type and the kernel."""
        return ComputeMode.parse(self.choice.mode)


def load(message: Load, device: torch.device, dtype: torch.dtype, tuner: Tuner | None = None) -> LoadedNetwork:
    """Load the checkpoint named in `message` onto `device`.

    The mode is chosen by `tuner`. Without a tuner, the fixed mode of `dtype` is used.

    Raises CheckpointInvalid if the files differ from those listed in `message`, or are not a valid checkpoint.
    """
    directory = Path(message.directory)
    _verify(directory, message)
    contents = checkpoint.read(directory)
    config, generates = contents.config, contents.config.task == "generation"
    tokenizer = Tokenizer.load(directory) if generates or config.ngram_buckets else None
    build = partial(_network, contents, directory, tokenizer)
    fixed = fixed_mode(device, dtype, generates=generates)
    chosen = ModeChoice(str(fixed), FIXED)
    if tuner is not None:
        chosen = _choose(tuner, message, fixed, partial(_untuned, message, contents, directory, build, device))
    network, nbytes, chosen = _built(build, chosen, fixed, device, tuner.threads if tuner else 1)
    mode = ComputeMode.parse(chosen.mode)
    target = contents.raw_config.get("target")
    return LoadedNetwork(
        message.digest, message.name, config, network, nbytes, mode.dtype, device,
        tokenizer.eos_id if tokenizer and generates else None,
        _scaling(contents), Scaling([target["mean"]], [target["std"]]) if target else None, chosen,
    )  # fmt: skip


def _choose(tuner: Tuner, message: Load, fixed: ComputeMode, untuned: Callable[[], UntunedVersion]) -> ModeChoice:
    """Choose a mode. The fixed mode is used after any error, because it does not need a measurement."""
    if message.probes is None:
        return ModeChoice(str(fixed), "the probes could not be read")
    try:
        return tuner.choose(untuned())
    except Exception as error:
        logger.exception("the modes of %s could not be measured", message.name)
        return ModeChoice(str(fixed), f"the measurement failed ({type(error).__name__})")


def _built(
    build: Callable[[], Any], chosen: ModeChoice, fixed: ComputeMode, device: torch.device, threads: int
) -> tuple[Any, int, ModeChoice]:
    """Build a network in the chosen mode or, if this fails, in the fixed mode.

    Returns the network, its size in bytes and the mode used.
    """
    mode = ComputeMode.parse(chosen.mode)
    if mode != fixed:
        network = build()
        try:
            return network, set_mode(network, mode, device, threads), chosen
        except (RuntimeError, MemoryError) as error:
            logger.warning("%s cannot be used: %s", mode, error)
            reason = f"{mode} could not be used ({type(error).__name__})"
            chosen = ModeChoice(str(fixed), reason, chosen.speeds, chosen.checks)
        del network
    network = build()
    return network, set_mode(network, fixed, device, threads), chosen


def _scaling(contents: Checkpoint) -> Scaling | None:
    values = contents.raw_config.get("normalization")
    return Scaling(values["mean"], values["std"], values.get("dtype", "float32")) if values else None


def _untuned(
    message: Load, contents: Checkpoint, directory: Path, build: Callable[[], Any], device: torch.device
) -> UntunedVersion:
    threshold = float(contents.raw_config.get("threshold", 0.5))
    subject = Subject(contents.config, device, contents.calibration, threshold, _scaling(contents))

    def probes() -> ProbeSet | None:
        def specials() -> list[int]:
            return Tokenizer.load(directory).special_ids

        return probes_of(contents.config, message.probes or b"", message.digest, specials)

    return UntunedVersion(message.digest, subject, probes, build)


def _verify(directory: Path, message: Load) -> None:
    """Raise CheckpointInvalid unless the directory's files, hashes and digest match those in the message."""
    if not directory.is_dir():
        raise CheckpointInvalid(f"the directory of {message.name} does not exist")
    manifest = checkpoint.manifest(directory)
    if set(manifest) != set(message.files):
        differing = ", ".join(sorted(set(manifest) ^ set(message.files))[:5])
        raise CheckpointInvalid(f"the files of {message.name} differ from the registered files: {differing}")
    for path, entry in manifest.items():
        if entry.sha256 != message.files[path]:
            raise CheckpointInvalid(f"{path} of {message.name} differs from the registered file (SHA-256)")
    # The digest is computed from the manifest, so a matching digest means that the message lists this version's files.
    if checkpoint.digest(manifest) != message.digest:
        raise CheckpointInvalid(f"the files of {message.name} do not have the digest {message.digest}")


def _network(contents: Checkpoint, directory: Path, tokenizer: Tokenizer | None) -> Any:
    """Build a network on the CPU in float32, without gradients, and load its weights. An adapter is merged into them.

    The weights files' headers are checked first, so that nothing is allocated for a configuration that needs more
    weights than the files contain. The tokenizer is needed for the n-gram branch of a text classifier.
    """
    config = contents.config
    check_weights(directory, WEIGHTS, config, contents.adapter)
    network: Any = tasks.build_for_inference(config)
    values: dict[str, Tensor] = checkpoint.load_weights(directory, contents, load_file)
    network.load_state_dict(values)
    network.requires_grad_(False).eval()
    if config.ngram_buckets and config.task != "generation":
        assert tokenizer is not None
        network.ngrams.bind_tokens(pieces(tokenizer))
    return network


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """The outcome of a load: a network, or the error to send in reply to `message`. `seconds` is the loading time."""

    message: Load
    result: LoadedNetwork | OstinatoError
    seconds: float


class Loader:
    """Loads one version after another in a daemon thread.

    `wake` is called in that thread when `collect` has outcomes to return.
    """

    def __init__(
        self, device: torch.device, dtype: torch.dtype, wake: Callable[[], None], tuner: Tuner | None = None
    ) -> None:
        self.device, self.dtype, self._wake, self._tuner = device, dtype, wake, tuner
        self._requests: queue.SimpleQueue[Load] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[LoadOutcome] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="loader", daemon=True).start()

    def submit(self, message: Load) -> None:
        """Queue a version for loading, and return immediately."""
        self._requests.put(message)

    def collect(self) -> list[LoadOutcome]:
        """Return the outcomes of the loads that have ended since the last call, in submission order."""
        outcomes = []
        while not self._outcomes.empty():
            outcomes.append(self._outcomes.get())
        return outcomes

    def _run(self) -> None:
        while True:
            message = self._requests.get()
            start = time.monotonic()
            self._outcomes.put(LoadOutcome(message, self._attempt(message), time.monotonic() - start))
            self._wake()

    def _attempt(self, message: Load) -> LoadedNetwork | OstinatoError:
        try:
            return load(message, self.device, self.dtype, self._tuner)
        except OstinatoError as error:
            return error
        except Exception as error:  # any error: the engine must keep serving its other versions
            if is_out_of_memory(error):
                return Unavailable(f"not enough memory to load {message.name}", code="out_of_memory")
            logger.exception("loading %s failed", message.name)
            return CheckpointInvalid(f"{message.name} cannot be loaded ({type(error).__name__})")
