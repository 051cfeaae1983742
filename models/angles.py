"""Tables of sines and cosines, for sinusoidal and rotary positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 256  # positions computed at once, so that the float64 intermediates stay small however far a table reaches
BASE = 10_000.0
Table = tuple[Tensor, Tensor]


class Angles:
    """Sines and cosines of the angles position / 10000^(2 k / width), k < width / 2.

    They are the sinusoidal positions of Vaswani et al. 2017 (section 3.5), which are added to vectors of `width`
    numbers, and the rotations of RoPE (Su et al. 2021, section 3.2.2), with the width of a head. The tables grow with
    the positions that are used: `context_length` is a number in a configuration file and must not cost memory by
    itself.

    Safe to use from several threads without a lock: tables are replaced and never changed, and each call returns one
    that reaches as far as the call needs. Two threads may compute the same entries twice.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        # Neither parameters nor buffers: those are allocated without values, loaded and converted with the weights.
        self._tables: dict[tuple[torch.device, torch.dtype], Table] = {}

    def up_to(self, reach: int, like: Tensor) -> Table:
        """(sines, cosines), each (P, width / 2) with P >= `reach`, on the device and with the dtype of `like`."""
        key = (like.device, like.dtype)
        table = self._tables.get(key)
        size = 0 if table is None else len(table[0])
        if table is None or size < reach:
            goal = max(reach, 2 * size, 1)  # doubled, so that decoding extends it rarely
            blocks = [self._block(start).to(*key) for start in range(size, goal, BLOCK)]
            sines, cosines = torch.cat(blocks, 1)
            table = (
                (sines, cosines) if table is None else (torch.cat((table[0], sines)), torch.cat((table[1], cosines)))
            )
            self._tables[key] = table
        return table

    def _block(self, start: int) -> Tensor:
        """(2, BLOCK, width / 2) in float64, from position `start` on.

        The rounding error of a large angle in float32 would show in its sine. Blocks begin at multiples of BLOCK, so
        that every entry has the same bits however the table grew.
        """
        steps = torch.arange(start, start + BLOCK, dtype=torch.float64)
        rates = torch.exp(torch.arange(0, self._width, 2, dtype=torch.float64) * (-math.log(BASE) / self._width))
        angles = torch.outer(steps, rates)
        return torch.stack((angles.sin(), angles.cos()))
