"""Merges an adapter in PEFT's layout (LoRA; Hu et al., 2021) into the weights of its base model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.importing.huggingface.directory import read_object
from app.importing.huggingface.parts import plain_names
from app.importing.huggingface.weights import read_safetensors
from app.importing.pytorch.tensors import Array, ForeignFileInvalid, Tensors
from app.importing.questions import Answers

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
WITHOUT_EFFECT = frozenset({  # settings that have no effect on the merged weights
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode", "layers_pattern",
    "layers_to_transform", "lora_dropout", "megatron_core", "modules_to_save", "peft_version", "qalora_group_size",
    "revision", "target_modules",
})  # fmt: skip
EMBEDDINGS, HEAD = ("embed_tokens.weight", "wte.weight"), "lm_head.weight"  # names of matrices in language models
PLAIN = (True, False, "gaussian", None)  # the values of init_lora_weights that do not change the base


@dataclass(frozen=True, slots=True)
class Adapter:
    """The settings and tensors of an adapter. `scale` multiplies the product of each pair of its matrices.

    With `transposed`, the matrices of the base are (in, out). `classifies` is true if the adapter contains the head of
    a classifier.
    """

    name: str
    rank: float
    scale: float
    transposed: bool
    classifies: bool
    tensors: Tensors


def read_adapter(folder: Path, answers: Answers) -> Adapter:
    """Read an adapter's directory. Raises ForeignFileInvalid for a kind that cannot be merged."""
    settings = read_object(folder / CONFIG, required=True)
    base = str(settings.get("base_model_name_or_path"))[:100]
    rank, alpha = (_number(settings, key) for key in ("r", "lora_alpha"))
    scale = alpha / (math.sqrt(rank) if settings.pop("use_rslora", False) else rank)
    transposed, task = bool(settings.pop("fan_in_fan_out", False)), settings.pop("task_type", None)
    _check(settings)
    answers.assumed.append(f"adapter={folder.name}: it was trained on {base}; the imported model must be this base")
    stored = read_safetensors(folder / WEIGHTS)
    tensors = {name.removeprefix(PREFIX): value for name, value in stored.items()}
    return Adapter(folder.name, rank, scale, transposed, task == "SEQ_CLS", tensors)


def _number(settings: dict[str, Any], key: str) -> float:
    value = settings.pop(key, None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ForeignFileInvalid(f"{CONFIG}: {key} must be a number above 0")
    return float(value)


def _check(settings: dict[str, Any]) -> None:
    """Raise ForeignFileInvalid for a kind other than LoRA, and for a setting that is neither known nor empty."""
    kind, initial = settings.pop("peft_type", None), settings.pop("init_lora_weights", True)
    if kind != "LORA":
        raise ForeignFileInvalid(f"{CONFIG}: peft_type is {str(kind)[:40]!r}; only LORA can be imported")
    if initial not in PLAIN:
        raise ForeignFileInvalid(
            f"{CONFIG}: init_lora_weights is {str(initial)[:40]!r}, which changes the base; convert the adapter with "
            "PEFT's path_initial_model_for_weight_conversion"
        )
    if settings.get("bias") == "none":
        del settings["bias"]
    if wrong := sorted(key for key, value in settings.items() if value and key not in WITHOUT_EFFECT):
        raise ForeignFileInvalid(f"{CONFIG}: {', '.join(wrong)[:200]} cannot be imported; merge the adapter with PEFT")


def merged(base: Tensors, adapter: Adapter, prefix: str) -> Tensors:
    """Return the base's tensors with the adapter merged into them. The names of the body's tensors begin with `prefix`.

    Raises ForeignFileInvalid if the adapter does not fit the base.
    """
    parts = plain_names(adapter.tensors, [prefix])
    tensors = dict(base)
    names = [name for name in parts if name.endswith(DOWN)]
    for name in names:
        target, down = name.removesuffix(DOWN), parts.pop(name)
        up = parts.pop(target + UP, None)
        weight = tensors.get(f"{target}.weight")
        if up is None or weight is None:
            raise ForeignFileInvalid(f"{WEIGHTS}: {target[:80]!r} has no {UP[1:]}, or is not in the base")
        tensors[f"{target}.weight"] = weight + _product(target, down, up, weight, adapter)
    if rest := [name for name in parts if "lora_" in name]:
        raise ForeignFileInvalid(f"{WEIGHTS}: the tensor {rest[0][:80]!r} cannot be imported")
    if not names:
        raise ForeignFileInvalid(f"{WEIGHTS} contains no LoRA matrices")
    tensors |= parts  # modules that were trained as a whole, such as a head
    if HEAD not in tensors and not adapter.classifies and (trained := [name for name in EMBEDDINGS if name in parts]):
        raise ForeignFileInvalid(
            f"{WEIGHTS}: the adapter replaces {trained[0]}, but the head of the base, which shares this matrix, must "
            "keep the old values; merge the adapter with PEFT"
        )
    return tensors


def _product(target: str, down: Array, up: Array, weight: Array, adapter: Adapter) -> Array:
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
        raise ForeignFileInvalid(f"{WEIGHTS}: the matrices of {target[:80]!r} have incompatible shapes")
    if down.shape[0] != adapter.rank:
        raise ForeignFileInvalid(f"{WEIGHTS}: {target[:80]!r} has rank {down.shape[0]}, but r is {adapter.rank:g}")
    shape = (
        up.shape[0],
        down.shape[1],
    )  # checked before multiplying, because the product of two small matrices can be large
    if (shape[::-1] if adapter.transposed else shape) != weight.shape:
        raise ForeignFileInvalid(
            f"{WEIGHTS}: the product for {target[:80]!r} has shape {shape}, which does not fit {weight.shape}"
        )
    product: Array = up @ down
    product *= adapter.scale
    return (product.T if adapter.transposed else product).astype(weight.dtype)
