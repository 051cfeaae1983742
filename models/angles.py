"""Tables of sines and cosines for sinusoidal and rotary position encodings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 256  # positions computed at once; keeps the float64 intermediates small, even if the table is large
BASE = 10_000.0
AngleTable = tuple[Tensor, Tensor]


class Angles:
    """Sines and cosines of the angles position / base^(2 k / width), k < width / 2.

    The tables are used for two position encodings. For the sinusoidal positions of Vaswani et al., 2017 (section 3.5),
    `width` is the width of the vectors to which the positions are added. For the rotations of RoPE (Su et al., 2021,
    section 3.2.2), `width` is the width of a head. The tables are extended only when positions are used, so a large
    `context_length` in a configuration file does not by itself use memory.

    Thread-safe without a lock: a table is never changed in place, but replaced with a longer one, and each call returns
    a table that is long enough. Two threads may compute the same entries.
    """

    def __init__(self, width: int, base: float = BASE, scaling: Sequence[float] = ()) -> None:
        self._width, self._base, self._scaling = width, base, scaling
        # The tables are neither parameters nor buffers, because parameters and buffers are allocated without values,
        # loaded from a file and converted to another dtype.
        self._tables: dict[tuple[torch.device, torch.dtype], AngleTable] = {}

    def up_to(self, reach: int, like: Tensor) -> AngleTable:
        """Return (sines, cosines), each (P, width / 2) with P >= `reach`, with the device and dtype of `like`."""
        key = (like.device, like.dtype)
        table = self._tables.get(key)
        size = 0 if table is None else len(table[0])
        if table is None or size < reach:
            goal = max(reach, 2 * size, 1)  # doubled, so that decoding rarely has to extend the table
            blocks = [self._block(start).to(*key) for start in range(size, goal, BLOCK)]
            sines, cosines = torch.cat(blocks, 1)
            table = (
                (sines, cosines) if table is None else (torch.cat((table[0], sines)), torch.cat((table[1], cosines)))
            )
            self._tables[key] = table
        return table

    def _block(self, start: int) -> Tensor:
        """Compute the float64 sines and cosines of BLOCK positions from `start` on, with shape (2, BLOCK, width / 2).

        In float32, the rounding error of a large angle would noticeably change its sine. Every block begins at a
        multiple of BLOCK, so that each entry is bit-identical regardless of how the table was extended.
        """
        steps = torch.arange(start, start + BLOCK, dtype=torch.float64)
        rates = torch.exp(torch.arange(0, self._width, 2, dtype=torch.float64) * (-math.log(self._base) / self._width))
        rates = _scaled(rates, self._scaling)
        angles = torch.outer(steps, rates)
        return torch.stack((angles.sin(), angles.cos()))


def _scaled(rates_K: Tensor, scaling: Sequence[float]) -> Tensor:
    """Return the rotation rates, reduced so that a network can read longer texts than those in its training.

    With one number in `scaling`, all rates are divided by it (position interpolation: Chen et al., 2023). With four
    numbers (factor, low, high, original length), only slow rates are divided by the factor: those with fewer than `low`
    turns within the original length. Rates with more than `high` turns are kept, and rates in between are
    interpolated, as in Llama 3.1. If `scaling` is empty, all rates are kept.
    """
    if not scaling:
        return rates_K
    factor, *bounds = scaling
    if not bounds:
        return rates_K / factor
    low, high, original = bounds
    turns_K = rates_K * (original / (2 * math.pi))
    kept_K = ((turns_K - low) / (high - low)).clamp(0.0, 1.0)
    return kept_K * rates_K + (1.0 - kept_K) * rates_K / factor
