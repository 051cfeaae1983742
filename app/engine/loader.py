"""Loads networks from checkpoint directories.

The hashes of all files are checked before any file is parsed.
"""

from __future__ import annotations

import logging
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
from app.engine.runner import Scaling
from app.engine.shared_base import SharedBase
from app.engine.tuning import Tuner, UntunedVersion
from app.errors import CheckpointInvalid
from app.tokenization.pieces import pieces
from app.tokenization.tokenizer import Tokenizer
from app.wire.engine import Load
from app.wire.modes import ModeChoice
from app.wire.probes import ProbeSet
from models import tasks
from models.config import ModelConfig
from models.kernels.modes import ComputeMode, fixed_mode
from models.mixed_adapters import AdapterMatrices

logger = logging.getLogger(__name__)
FIXED = "fixed by the settings"
PLAIN = ModeChoice("float32/torch", FIXED)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LoadedNetwork:
    """A loaded checkpoint, in evaluation mode and without gradients.

    `scaling` normalises the columns of numeric input. `target` is the normalisation of a regression's target values;
    answers are converted back to the original units. `nbytes` is the size of the weights in memory, including copies in
    a kernel's own layout. `dtype` is the data type of the activations. `choice` is the chosen mode (weight type and
    kernel), with the reason for the choice. `message` is the message that the version was loaded for.

    If the version shares the network of its base, `shared` is this base, `network` has its modules, `nbytes` does not
    include it, and `adapter` contains the matrices of the version's adapter, if it has one.
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
    message: Load | None = field(default=None, repr=False)
    shared: SharedBase | None = field(default=None, repr=False)
    adapter: AdapterMatrices | None = field(default=None, repr=False)

    @property
    def mode(self) -> ComputeMode:
        """The weight type and the kernel."""
        return ComputeMode.parse(self.choice.mode)


@dataclass(frozen=True, slots=True)
class LoadSource:
    """The checked files of a version that is being loaded."""

    message: Load
    directory: Path
    contents: Checkpoint
    tokenizer: Tokenizer | None

    @property
    def generates(self) -> bool:
        """Whether the version generates text."""
        return self.contents.config.task == "generation"

    def loaded(
        self, network: Any, nbytes: int, choice: ModeChoice, device: torch.device, **shared: Any
    ) -> LoadedNetwork:
        """Return the loaded version with a network that was built from this source."""
        target = self.contents.raw_config.get("target")
        return LoadedNetwork(
            self.message.digest, self.message.name, self.contents.config, network, nbytes,
            ComputeMode.parse(choice.mode).dtype, device,
            self.tokenizer.eos_id if self.tokenizer and self.generates else None,
            _scaling(self.contents), Scaling([target["mean"]], [target["std"]]) if target else None, choice,
            self.message, **shared,
        )  # fmt: skip


def read_source(message: Load) -> LoadSource:
    """Check the files of a version. Raises CheckpointInvalid if they differ from those listed in `message`, or are not
    a valid checkpoint.
    """
    directory = Path(message.directory)
    _verify(directory, message)
    contents = checkpoint.read(directory)
    needed = contents.config.task == "generation" or contents.config.ngram_buckets
    return LoadSource(message, directory, contents, Tokenizer.load(directory) if needed else None)


def load(message: Load, device: torch.device, dtype: torch.dtype, tuner: Tuner | None = None) -> LoadedNetwork:
    """Load the checkpoint named in `message` onto `device`. An adapter is merged into its base.

    The mode is chosen by `tuner`. Without a tuner, the fixed mode of `dtype` is used.

    Raises CheckpointInvalid if the files differ from those listed in `message`, or are not a valid checkpoint.
    """
    return load_source(read_source(message), device, dtype, tuner)


def load_source(source: LoadSource, device: torch.device, dtype: torch.dtype, tuner: Tuner | None) -> LoadedNetwork:
    """Load a version whose files have been checked, as `load` does."""
    fixed = fixed_mode(device, dtype, generates=source.generates)
    chosen = choose_mode(source, device, dtype, tuner)
    build = partial(_network, source.contents, source.directory, source.tokenizer)
    network, nbytes, chosen = _built(build, chosen, fixed, device, tuner.threads if tuner else 1)
    return source.loaded(network, nbytes, chosen, device)


def choose_mode(
    source: LoadSource, device: torch.device, dtype: torch.dtype, tuner: Tuner | None, *, shared: bool = False
) -> ModeChoice:
    """Choose the mode of a version. `shared`: only modes in which versions can share the network of a base."""
    fixed = fixed_mode(device, dtype, generates=source.generates)
    if tuner is None:
        return ModeChoice(str(fixed), FIXED)
    build = partial(_network, source.contents, source.directory, source.tokenizer)
    untuned = partial(_untuned, source.message, source.contents, source.directory, build, device, shared)
    return _choose(tuner, source.message, fixed, untuned)


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
    message: Load, contents: Checkpoint, directory: Path, build: Callable[[], Any], device: torch.device, shared: bool
) -> UntunedVersion:
    threshold = float(contents.raw_config.get("threshold", 0.5))
    subject = Subject(contents.config, device, contents.calibration, threshold, _scaling(contents))

    def probes() -> ProbeSet | None:
        def specials() -> list[int]:
            return Tokenizer.load(directory).special_ids

        return probes_of(contents.config, message.probes or b"", message.digest, specials)

    return UntunedVersion(message.digest, subject, probes, build, shared)


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
    check_weights(directory, WEIGHTS, contents.config, contents.adapter)
    network: Any = tasks.build_for_inference(contents.config)
    values: dict[str, Tensor] = checkpoint.load_weights(directory, contents, load_file)
    network.load_state_dict(values)
    return ready(network, contents.config, tokenizer)


def ready(network: Any, config: ModelConfig, tokenizer: Tokenizer | None) -> Any:
    """Prepare a network with loaded weights for inference."""
    network.requires_grad_(False).eval()
    if config.ngram_buckets and config.task != "generation":
        assert tokenizer is not None
        network.ngrams.bind_tokens(pieces(tokenizer))
    return network
