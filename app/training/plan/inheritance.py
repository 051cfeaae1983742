"""Copies weights from the version that is fine-tuned into the new network."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from app.checkpoint import directory as checkpoint
from app.checkpoint.adapter import LowRankAdapter
from app.training.base import BaseCheckpoint
from app.training.failures import TrainingFailure
from app.training.plan.config import Settled
from models.low_rank import add_adapters
from models.tasks import TaskNetwork

OUTPUTS = ("head.", "ngrams.weight", "ngrams.bias")  # parameters that contain values for each label
EMBEDDING = "input.embedding.weight"
# The only parameters trained with `head_only`, except for generation.
HEADS = ("head_layers.", "head_norm.", "pooling.", *OUTPUTS)


def take_over(network: TaskNetwork, base: BaseCheckpoint, settled: Settled, labels: list[str]) -> str:
    """Copy every base tensor whose name and shape match the network. Return a message that names all other tensors.

    The head is copied only if the task, the labels and the order of the labels are the same. With `head_only`, all
    parameters are frozen except those in `HEADS` or, for generation, the head; with `freeze_embedding`, only the token
    vectors are frozen. With `lora`, the network gets an adapter, and only the adapter, new tensors and, except for
    generation, `HEADS` are trained. Raises TrainingFailure `invalid_base_model` if neither a tensor of the body nor the
    inverse document frequencies of an n-gram branch match.
    """
    own = network.state_dict()
    base_tensors = _reshaped(base.tensors(), own)
    before, now = base.config, settled.config
    keep_head = before.task == now.task and before.classes == now.classes and labels == base.labels
    inherited = {
        name: tensor
        for name, tensor in base_tensors.items()
        if name in own and own[name].shape == tensor.shape and (keep_head or not name.startswith(OUTPUTS))
    }
    if not any(name.startswith(("body.", "ngrams.idf")) for name in inherited):
        message = f"none of the weights of this {before.task} model fit a network for {now.task}"
        raise TrainingFailure("invalid_base_model", message, "model")
    network.load_state_dict(own | inherited)
    if settled.head_only:
        for name, parameter in network.named_parameters():
            parameter.requires_grad = name.startswith("head." if now.task == "generation" else HEADS)
    elif settled.lora is not None:
        _adapt(network, settled.lora, generates=now.task == "generation", kept=set(inherited))
    elif settled.freeze_embedding:
        network.get_parameter(EMBEDDING).requires_grad_(False)
    new = ", ".join(sorted(set(own) - set(inherited)))
    return f"{len(inherited)} of {len(own)} tensors come from the base version" + (f"; new: {new}" if new else "")


def _reshaped(base: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adapt the base tensors to the new network, in place, and return them.

    If the base head was tied to the embedding and the new head has a separate matrix, the head gets a copy of the
    embedding. Learned position embeddings are cut to the new context length.
    """
    head, embedding, positions = "head.weight", "input.embedding.weight", "body.positions.weight"
    if head in own and head not in base and embedding in base:
        base[head] = base[embedding].clone()
    if positions in own and positions in base:
        base[positions] = base[positions][: len(own[positions])]
    return base


def _adapt(network: TaskNetwork, lora: dict[str, Any], *, generates: bool, kept: set[str]) -> None:
    add_adapters(network, lora["target_modules"], lora["r"], lora["alpha"], lora["dropout"])
    for name, parameter in network.named_parameters():
        in_head = not generates and name.startswith(HEADS)
        parameter.requires_grad = in_head or name not in kept  # the matrices of the adapter are not in the base


def adapter_of(settled: Settled, base: BaseCheckpoint | None) -> LowRankAdapter | None:
    """Return the adapter for config.json, which identifies the base, or None for other kinds of training."""
    if settled.lora is None or base is None:
        return None
    files = checkpoint.manifest(base.directory)
    return LowRankAdapter(checkpoint.digest(files), files[checkpoint.WEIGHTS].sha256, **settled.lora)
