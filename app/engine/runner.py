"""Runs networks on batches of Python lists: padding, normalisation, prefill and decode steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.engine.sampling import token_logprobs
from app.wire.engine import FeatureSequence, TokenLogprob
from models.interface import Context
from models.mixed_adapters import AdapterMatrices, AdapterStacks, using
from models.snapshot import Snapshot, join
from models.state import State

Adapters = Sequence[AdapterMatrices | None]
LOGPROB_ROWS = 128  # the number of prompt positions whose logits (rows, V) are computed at once


@dataclass(frozen=True, slots=True)
class Scaling:
    """The mean and standard deviation, in the training data, of numeric input columns or of a regression's target.

    `dtype` is the data type in which the values are normalised. If the training data was normalised in float32, `dtype`
    is also float32, so that requests are normalised as in training.
    """

    mean: list[float]
    std: list[float]
    dtype: str = "float32"


class Runner:
    """A language model and the state of its `max_slots` slots."""

    def __init__(self, network: Any, max_slots: int, device: torch.device, stacks: AdapterStacks | None = None) -> None:
        """`stacks` is needed if the rows of a call can have different adapters."""
        self.network, self.device, self.stacks = network, device, stacks
        self.state: State = network.new_state(max_slots)

    def reset(self, slots: Sequence[int]) -> None:
        """Reset the state of these slots."""
        self.state.reset(slots)

    def copy(self, source: int, target: int) -> None:
        """Overwrite the state of slot `target` with the state of slot `source`."""
        self.state.copy(source, target)

    @property
    def divisible(self) -> bool:
        """Whether a snapshot contains the states after all shorter prefixes."""
        divisible: bool = self.network.divides(self.state)
        return divisible

    def snapshot(self, slot: int, start: int) -> Snapshot:
        """Return a copy of a slot's state, with the keys and values from position `start` on."""
        return self.state.snapshot(slot, start)

    def resume(self, slot: int, segments: Sequence[Snapshot], ids: Sequence[int]) -> None:
        """Overwrite a slot with the state after the tokens `ids`, joined from consecutive `segments`."""
        self.network.resume(self.state, slot, join(segments), ids)

    def read(self, start: int, rows: Sequence[Sequence[int]], adapters: Adapters = ()) -> Tensor:
        """Feed the token ids rows[i] to slot `start` + i, and return hidden_BTD.

        An empty row does not change its slot. `adapters` are those of the rows (None: the base alone), or empty.
        """
        ids_BT, lengths_B = pad(rows, self.device)
        mixed = self.stacks.rows(adapters, [len(row) for row in rows]) if self.stacks and adapters else None
        with using(mixed):
            hidden_BTD: Tensor = self.network(ids_BT, Context(lengths_B, self.state.narrow(start, len(rows))))
        return hidden_BTD

    def decode(self, rows: Sequence[Sequence[int]], alone: bool, adapters: Adapters = ()) -> Tensor:
        """Feed at most one token id to each slot, starting at slot 0, and return logits_BV.

        If `alone` is true, each row is computed in a separate call, so that its logits are bit-identical regardless of
        other rows. Otherwise, the number of rows determines the kernel of each matrix product, and thus its rounding.
        """
        if not alone:
            logits_BV: Tensor = self.network.logits(self.read(0, rows, adapters)[:, 0])
            return logits_BV
        parts = [self.network.logits(self.read(slot, [row])[:, 0]) for slot, row in enumerate(rows) if row]
        width = parts[0].shape[1]
        filled = iter(parts)
        return torch.cat([next(filled) if row else parts[0].new_zeros(1, width) for row in rows])

    def logits_after(self, hidden_BTD: Tensor, ends: Sequence[tuple[int, int]]) -> Tensor:
        """Return logits_NV at the positions (row, step) in `ends`."""
        rows, steps = zip(*ends, strict=True)
        hidden_ND = hidden_BTD[torch.tensor(rows, device=self.device), torch.tensor(steps, device=self.device)]
        logits_NV: Tensor = self.network.logits(hidden_ND)
        return logits_NV

    def logprobs(self, hidden_TD: Tensor, ids: Sequence[int], alternatives: int) -> list[TokenLogprob]:
        """Return the log-probability of ids[t] after position t, for a prompt chunk.

        Logits are computed for `LOGPROB_ROWS` positions at a time, so that a long chunk does not need a (T, V) tensor.
        """
        logprobs: list[TokenLogprob] = []
        for start in range(0, len(ids), LOGPROB_ROWS):
            part = ids[start : start + LOGPROB_ROWS]
            logits_TV = self.network.logits(hidden_TD[start : start + len(part)])
            logprobs += token_logprobs(logits_TV, part, alternatives)
        return logprobs


def pad(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return ids_BT on the device, right-padded with 0, and lengths_B on the CPU (None if all are equal)."""
    lengths = [len(row) for row in rows]
    steps = max(lengths)
    if min(lengths) == steps:
        return torch.tensor(rows, dtype=torch.int64, device=device), None
    ids_BT = np.zeros((len(rows), steps), dtype=np.int64)
    for i, row in enumerate(rows):
        ids_BT[i, : len(row)] = row
    return torch.from_numpy(ids_BT).to(device), torch.tensor(lengths)


def stack(rows: Sequence[FeatureSequence], scaling: Scaling | None, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return x_BTF on the device, normalised and then right-padded with 0, and lengths_B on the CPU."""
    lengths = [row.steps for row in rows]
    x_BTF = np.zeros((len(rows), max(lengths), rows[0].features), dtype=np.float32)
    for i, row in enumerate(rows):
        values_TF = np.frombuffer(row.data, dtype=f"<{row.dtype}").reshape(row.steps, row.features)
        if scaling:
            mean_F, std_F = np.array(scaling.mean, scaling.dtype), np.array(scaling.std, scaling.dtype)
            values_TF = (values_TF.astype(scaling.dtype) - mean_F) / std_F
        x_BTF[i, : row.steps] = values_TF
    return torch.from_numpy(x_BTF).to(device), torch.tensor(lengths)
