"""The weights of the version to fine-tune, in the network that goes on from them. Knows names of parameters."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import Tensor

from app.training.base import BaseCheckpoint
from app.training.failures import TrainingFailure
from app.training.plan.config import Settled
from models.tasks import Classifier, LanguageModel


def take_over(network: LanguageModel | Classifier, base: BaseCheckpoint, settled: Settled, labels: list[str]) -> str:
    """Put in all that fits, but for a head of another task or order of labels; say what was new, for people.

    Of a head alone nothing else will move: `settled.head_only`.
    """
    own = network.state_dict()
    given = _reshaped(load_file(base.weights), own)
    before, now = base.config, settled.config
    keep_head = before.task == now.task and before.classes == now.classes and labels == base.labels
    taken = {
        name: tensor
        for name, tensor in given.items()
        if name in own and own[name].shape == tensor.shape and (keep_head or not name.startswith("head."))
    }
    if not any(name.startswith("body.") for name in taken):
        said = f"a {before.task} model has nothing that {now.task} can use"
        raise TrainingFailure("invalid_base_model", said, "model")
    network.load_state_dict(own | taken)
    if settled.head_only:
        for name, parameter in network.named_parameters():
            parameter.requires_grad = name.startswith(("head.", "pooling."))
    fresh = ", ".join(sorted(set(own) - set(taken)))
    return f"{len(taken)} of {len(own)} tensors come from the base version" + (f"; new: {fresh}" if fresh else "")


def _reshaped(given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """A tied head gets a matrix of its own where it is wanted; learned positions end where the new context ends."""
    head, embedding, positions = "head.weight", "input.embedding.weight", "body.positions.weight"
    if head in own and head not in given and embedding in given:
        given[head] = given[embedding].clone()
    if positions in own and positions in given:
        given[positions] = given[positions][: len(own[positions])]
    return given
