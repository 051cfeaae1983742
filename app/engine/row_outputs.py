"""Functions that compute the outputs of a batch's rows: of one version, or of several versions with a common base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from app.engine.loader import LoadedNetwork
from app.engine.runner import pad, stack
from app.engine.scorer import ScoringRow, steps_of
from app.engine.shared_base import SharedBase
from models.interface import Context
from models.mixed_adapters import using

Head = Callable[[LoadedNetwork, Tensor, Tensor, Tensor], Tensor]  # version, hidden_BTD, inputs, lengths_B -> outputs


def scores(loaded: LoadedNetwork) -> Callable[[Sequence[ScoringRow]], Tensor]:
    """Return a function that computes the head's raw outputs, or a regression's answers in their original units."""
    return lambda rows: _in_units(loaded, loaded.network(*_inputs(loaded, rows)))


def embeddings(loaded: LoadedNetwork) -> Callable[[Sequence[ScoringRow]], Tensor]:
    """Return a function that computes embeddings."""

    def run(rows: Sequence[ScoringRow]) -> Tensor:
        vectors_BD: Tensor = loaded.network.embed(*_inputs(loaded, rows))
        return vectors_BD

    return run


def score_head(loaded: LoadedNetwork, hidden_BTD: Tensor, inputs: Tensor, lengths_B: Tensor) -> Tensor:
    """Compute the same outputs as `scores` from hidden vectors."""
    return _in_units(loaded, loaded.network.classified(hidden_BTD, inputs, lengths_B))


def embedding_head(loaded: LoadedNetwork, hidden_BTD: Tensor, inputs: Tensor, lengths_B: Tensor) -> Tensor:
    """Compute the same outputs as `embeddings` from hidden vectors."""
    vectors_BD: Tensor = loaded.network.embedded(hidden_BTD, lengths_B)
    return vectors_BD


def shared_outputs(
    base: SharedBase, head: Head, versions: Sequence[LoadedNetwork], rows: Sequence[ScoringRow]
) -> list[list[float]]:
    """Compute row i with the adapter and the head of versions[i]. All versions must share `base`."""
    # Rows of one version are adjacent, so that its update and its head are computed for a range of rows.
    order = sorted(range(len(rows)), key=lambda i: (versions[i].digest, steps_of(rows[i])))
    versions, rows = [versions[i] for i in order], [rows[i] for i in order]
    inputs, lengths_B = _inputs(versions[0], rows)
    with using(base.stacks.rows([version.adapter for version in versions], [steps_of(row) for row in rows])):
        body_BTD = base.body(base.input(inputs), Context(lengths_B))
    outputs: list[list[float]] = [[]] * len(rows)
    for version, group in groupby(range(len(rows)), key=lambda i: versions[i]):
        start, *rest = group
        part = slice(start, start + 1 + len(rest))
        hidden_BTD = version.network.normed(body_BTD[part])
        outputs[part] = head(version, hidden_BTD, inputs[part], lengths_B[part]).tolist()
    in_order: list[list[float]] = [[]] * len(rows)
    for place, output in zip(order, outputs, strict=True):
        in_order[place] = output
    return in_order


def _in_units(loaded: LoadedNetwork, scores_BC: Tensor) -> Tensor:
    """Convert a regression's answers to their original units.

    This is computed in float64, because float32 has too few digits for targets such as times in seconds.
    """
    target = loaded.target
    return scores_BC if target is None else scores_BC.cpu().double() * target.std[0] + target.mean[0]


def _inputs(loaded: LoadedNetwork, rows: Sequence[ScoringRow]) -> tuple[Tensor, Tensor]:
    """Return the padded inputs and lengths_B. All rows must be token ids, or all must be numeric."""
    tokens = [row for row in rows if isinstance(row, list)]
    if tokens:
        ids_BT, lengths_B = pad(tokens, loaded.device)
        return ids_BT, torch.full((len(rows),), ids_BT.shape[1]) if lengths_B is None else lengths_B
    numeric = [row for row in rows if not isinstance(row, list)]
    x_BTF, steps_B = stack(numeric, loaded.scaling, loaded.device)
    return x_BTF.to(loaded.dtype), steps_B
