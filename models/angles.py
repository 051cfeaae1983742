"""Sines and cosines of positions, for sinusoidal and rotary positions. Knows positions; knows no vectors of a network.

The table grows with what is read: a context length is a number in a small file, and must not cost memory by itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 256  # positions computed at once: the float64 numbers on the way stay small, whatever is asked for
Table = tuple[Tensor, Tensor]


class Angles:
    """`width`: of the vectors that are placed or turned; each pair of their numbers has one angle.

    Safe to use from several threads: what a call returns reaches as far as it asked.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        # Neither parameters nor buffers, which may be built without memory, loaded, and cast as they please.
        self._tables: dict[tuple[torch.device, torch.dtype], Table] = {}

    def up_to(self, reach: int, like: Tensor) -> Table:
        """(sines, cosines), each (`reach` or more, width / 2), on the device and in the type of `like`."""
        key = (like.device, like.dtype)
        table = self._tables.get(key)
        known = 0 if table is None else len(table[0])
        if table is None or known < reach:
            wanted = max(reach, 2 * known, 1)
            blocks = [self._block(start).to(*key) for start in range(known, wanted, BLOCK)]
            sines, cosines = torch.cat(blocks, 1)
            table = (
                (sines, cosines) if table is None else (torch.cat((table[0], sines)), torch.cat((table[1], cosines)))
            )
            self._tables[key] = table
        return table

    def _block(self, start: int) -> Tensor:
        """(2, BLOCK, width / 2) in float64; blocks begin at the same positions however the table grew."""
        steps = torch.arange(start, start + BLOCK, dtype=torch.float64)
        rates = torch.exp(torch.arange(0, self._width, 2, dtype=torch.float64) * (-math.log(10_000.0) / self._width))
        angles = torch.outer(steps, rates)
        return torch.stack((angles.sin(), angles.cos()))
