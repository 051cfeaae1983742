"""Tables of sines and cosines, for sinusoidal and rotary positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 256  # positions computed at once, so that the float64 intermediates stay small for any size of table
BASE = 10_000.0
Table = tuple[Tensor, Tensor]


class Angles:
    """Sines and cosines of the angles position / 10000^(2 k / width), k < width / 2.

    They are the sinusoidal positions of Vaswani et al., 2017 (section 3.5), which are added to vectors of `width`
    numbers, and the rotations of RoPE (Su et al., 2021, section 3.2.2), with the width of a head. The tables grow with
    the positions that are used: `context_length` is a number in a configuration file and must not cost memory by
    itself.

    Safe to use from several threads without a lock: tables are replaced and never changed, and each call returns a
    table that is long enough for the call. Two threads may compute the same entries twice.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        # The tables are neither parameters nor buffers, because those are allocated without values, loaded and
        # converted.
        self._tables: dict[tuple[torch.device, torch.dtype], Table] = {}

    def up_to(self, reach: int, like: Tensor) -> Table:
        """Return (sines, cosines), each (P, width / 2) with P >= `reach`, on the device and with the dtype of
        `like`."""
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
        """Compute sines and cosines, (2, BLOCK, width / 2), in float64 for the positions from `start` on.

        In float32, the rounding error of a large angle would be visible in its sine. Blocks begin at multiples of
        BLOCK, so that every entry has the same bits regardless of how the table has grown.
        """
        steps = torch.arange(start, start + BLOCK, dtype=torch.float64)
        rates = torch.exp(torch.arange(0, self._width, 2, dtype=torch.float64) * (-math.log(BASE) / self._width))
        angles = torch.outer(steps, rates)
        return torch.stack((angles.sin(), angles.cos()))
