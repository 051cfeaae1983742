"""Networks with layers of unknown role are refused, and the error states the probable cause."""

from __future__ import annotations

import numpy as np
import pytest

from app.importing.pytorch.parts import Layer, UnknownNetwork
from app.importing.pytorch.roles import find_roles
from app.importing.questions import Answers


@pytest.mark.parametrize(("inputs", "explained"), [(40, True), (60, True), (33, False)])
def test_a_head_that_reads_joined_vectors_is_named(inputs: int, explained: bool) -> None:
    layers = [Layer("emb", np.zeros((30, 16), "f")), Layer("fc", np.zeros((2, inputs), "f"), np.zeros(2, "f"))]
    with pytest.raises(UnknownNetwork) as caught:
        find_roles(layers, (16, 20), "gru.weight_ih_l0", Answers({}), None)
    cause = (
        f"'fc' reads {inputs} numbers, so it probably reads {inputs // 20} vectors of the body, joined with torch.cat"
    )
    assert (cause in str(caught.value)) == explained
