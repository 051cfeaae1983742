"""A packed network computes what the plain one does, in whole passes and step by step."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from models.config import ModelConfig
from models.interface import Context
from models.packed import pack, packable
from tests.models.configurations import batch, generator, generators

CALLS = ((3, 1, 0, 2), (1, 1, 1, 1), (1, 0, 1, 0), (0, 0, 5, 1), (1, 1, 1, 1))  # chunks, steps, rows left out

pytestmark = pytest.mark.skipif(
    not packable(torch.device("cpu"), torch.float32), reason="oneDNN packs no matrices on this processor"
)


@pytest.mark.parametrize("config", generators().values(), ids=generators().keys())
@torch.inference_mode()
def test_generators_step_by_step(config: ModelConfig) -> None:
    plain = generator(config)
    packed = deepcopy(plain)
    pack(packed)
    states = plain.new_state(4), packed.new_state(4)
    for call in CALLS:
        ids_BT, lengths_B = batch(config, call)
        hidden = [net(ids_BT, Context(lengths_B, state)) for net, state in zip((plain, packed), states, strict=True)]
        real_BT = torch.arange(ids_BT.shape[1]) < lengths_B[:, None]
        logits = plain.logits(hidden[0]), packed.logits(hidden[1])
        torch.testing.assert_close(logits[0][real_BT], logits[1][real_BT], atol=1e-5, rtol=1e-5)
    assert states[0].positions == states[1].positions
    for old, new in zip(states[0].layers, states[1].layers, strict=True):
        torch.testing.assert_close(old, new, atol=1e-5, rtol=1e-5)


def test_what_is_held_twice_is_counted() -> None:
    """A recurrent network in both forms, and an embedding that is also the head; a Transformer's matrices once."""
    sizes = {name: sum(p.nbytes for p in generator(config).parameters()) for name, config in generators().items()}
    twice = {name: pack(generator(config)) for name, config in generators().items()}
    assert twice["lstm"] == sizes["lstm"] - 4 * 23  # all but the head's bias
    assert twice["transformer"] == 4 * 23 * 16
    assert twice["transformer-post"] == 0
