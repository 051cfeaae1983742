"""Low-rank adapters in checkpoints: the field `adapter` of config.json, and the file adapter_model.safetensors.

The checkpoint of an adapter contains the unchanged weights file of its base, which the blob store stores only once. It
also contains the tensors that training has added or changed, under PEFT's names. Loading a checkpoint merges the two
files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.checkpoint.finiteness import largest
from app.checkpoint.weights import TensorEntry, check_tensors, read_header
from app.errors import CheckpointInvalid
from app.wire.lora_rules import RANGES
from models.adapters import DOWN, UP, adapter_shapes, is_adapter, merged
from models.choices import ADAPTABLE
from models.config import ModelConfig
from models.parameters import shapes
from models.weight_format import FLOATING

ADAPTER = "adapter_model.safetensors"
PREFIX = "base_model.model."  # the prefix of the tensor names, as in PEFT
LARGEST_FLOAT32 = 3.4028235e38
HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LowRankAdapter:
    """The field `adapter` of config.json. `base` is the digest of the base, and `weights` is the hash of its weights.

    The other fields have the meaning of the options with the same names.
    """

    base: str
    weights: str
    r: int
    alpha: float
    dropout: float
    target_modules: list[str]

    @property
    def scale(self) -> float:
        """The factor by which the product of the two matrices is multiplied."""
        return self.alpha / self.r


def parse_adapter(value: object, config: ModelConfig) -> LowRankAdapter | None:
    """Check the field `adapter` of config.json. Returns None for None. Raises CheckpointInvalid."""
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != set(LowRankAdapter.__dataclass_fields__):
        raise _invalid(f"must have exactly the fields {', '.join(LowRankAdapter.__dataclass_fields__)}")
    if config.architecture != "transformer":
        raise _invalid("is allowed only for a transformer")
    adapter = LowRankAdapter(**value)
    if not all(isinstance(text, str) and HASH.fullmatch(text) for text in (adapter.base, adapter.weights)):
        raise _invalid("base and weights must be SHA-256 hashes")
    for name, kinds in (("r", (int,)), ("alpha", (int, float)), ("dropout", (int, float))):
        _check_number(name, getattr(adapter, name), kinds)
    targets = adapter.target_modules
    if not isinstance(targets, list) or not targets or any(name not in ADAPTABLE for name in targets):
        raise _invalid(f"target_modules must be a list of one or more of {', '.join(ADAPTABLE)}")
    return adapter


def check_weights(directory: Path, weights: str, config: ModelConfig, adapter: LowRankAdapter | None) -> int:
    """Check the headers of the weights files against the configuration. Returns the number of parameters.

    `weights` is the name of the file with all weights or, for an adapter, with those of the base. Raises
    CheckpointInvalid if a file does not match.
    """
    header = read_header(directory / weights)
    if (directory / ADAPTER).exists() != (adapter is not None):
        raise CheckpointInvalid(
            f"{ADAPTER} belongs in a checkpoint if and only if its config.json has the field adapter"
        )
    if adapter is not None:
        header = _with_adapter(header, _plain(read_header(directory / ADAPTER)), config, adapter)
    check_tensors(header, config)
    return sum(entry.elements for entry in header.values())


def check_merged(directory: Path, weights: str, adapter: LowRankAdapter) -> None:
    """Raise CheckpointInvalid if a weight could become infinite when the adapter is merged into its base.

    `check_weights` must have accepted the files, and all weights in them must be finite. The check compares an upper
    bound of the sum W + alpha / r * B A with half of the largest float32, which leaves room for rounding errors.
    """
    own = _plain(largest(directory / ADAPTER, read_header(directory / ADAPTER)))
    modules = [name.removesuffix(UP) for name in own if name.endswith(UP)]
    base = largest(directory / weights, [f"{name}weight" for name in modules if f"{name}weight" not in own])
    values = base | own
    for name in modules:
        product = adapter.r * values[name + DOWN] * values[name + UP]
        bound = max(product, values[f"{name}weight"] + adapter.scale * product)
        if bound > LARGEST_FLOAT32 / 2:
            raise CheckpointInvalid(
                f"{ADAPTER}: the weights of the base, merged with the adapter of '{name}weight', could be infinite, "
                "because the numbers in its matrices are too large; the training run may have diverged"
            )


def load_merged(
    directory: Path, weights: str, config: ModelConfig, adapter: LowRankAdapter, load: Callable[[Path], Any]
) -> dict[str, Any]:
    """Return the tensors of a base with its adapter merged into them. `check_weights` must have accepted the files.

    `load` reads a safetensors file into tensors of NumPy or torch.
    """
    tensors = merged(load(directory / weights), read_adapter(directory, load), adapter.scale)
    return {name: tensors[name] for name in shapes(config)}  # leave out the base's head if the adapter replaces it


def read_adapter(directory: Path, load: Callable[[Path], Any]) -> dict[str, Any]:
    """Return the tensors that an adapter adds to its base, by parameter name. `load` is as above."""
    return _plain(load(directory / ADAPTER))


def _plain(tensors: Mapping[str, Any]) -> dict[str, Any]:
    if wrong := [name for name in tensors if not name.startswith(PREFIX)]:
        raise CheckpointInvalid(f"{ADAPTER}: the name {wrong[0][:80]!r} does not begin with {PREFIX}")
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}


def _with_adapter(
    base: dict[str, TensorEntry], own: dict[str, TensorEntry], config: ModelConfig, adapter: LowRankAdapter
) -> dict[str, TensorEntry]:
    """Return the entries of the merged tensors. Raises CheckpointInvalid unless the adapter has all of its matrices."""
    _check_types(own)
    expected = dict(adapter_shapes(config, adapter.target_modules, adapter.r))
    actual = {name: entry.shape for name, entry in own.items() if is_adapter(name)}
    if differing := sorted(name for name in expected.keys() | actual if expected.get(name) != actual.get(name)):
        name = differing[0]
        shape = f"must have shape {expected[name]}" if name in expected else "is not a matrix of this adapter"
        raise CheckpointInvalid(f"{ADAPTER}: the tensor {name[:80]!r} {shape}")
    needed = shapes(config)
    # The base may have another head, which the network does not use. The adapter may not have unused tensors.
    kept = {name: entry for name, entry in base.items() if name in needed}
    return kept | {name: entry for name, entry in own.items() if not is_adapter(name)}


def _check_types(own: dict[str, TensorEntry]) -> None:
    """Raise CheckpointInvalid if a matrix does not have a floating-point type, or if the types of a pair differ."""
    for name in sorted(filter(is_adapter, own)):
        dtype, other = own[name].dtype, own.get(name.removesuffix(UP) + DOWN)
        if dtype not in FLOATING.dtypes:
            allowed = ", ".join(sorted(FLOATING.dtypes))
            raise CheckpointInvalid(
                f"{ADAPTER}: the tensor {name[:80]!r} has dtype {dtype}; it must have one of {allowed}"
            )
        if name.endswith(UP) and other is not None and other.dtype != dtype:
            module = name.removesuffix(f".{UP}")[:80]
            raise CheckpointInvalid(
                f"{ADAPTER}: the two matrices of {module!r} have the dtypes {other.dtype} and {dtype}, which must be "
                "equal"
            )


def _check_number(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if type(value) not in kinds:
        raise _invalid(f"{name} must be a {'number' if float in kinds else 'whole number'}")
    if complaint := RANGES[name].complaint(value):
        raise _invalid(f"{name} {complaint}")


def _invalid(problem: str) -> CheckpointInvalid:
    return CheckpointInvalid(f"config.json: adapter {problem}")
