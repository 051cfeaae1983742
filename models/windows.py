"""Local attention: each step attends only to near steps (sliding windows: Beltagy et al., 2020, section 3.1)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.choices import LOCAL_BLOCK as BLOCK


def limits(window: int, steps: int) -> bool:
    """Whether a window (0: none) excludes any step of a sequence."""
    return 0 < window < steps - 1


@dataclass(frozen=True, slots=True)
class WindowBlock:
    """A block of consecutive queries, the keys in their windows, and a mask (B or 1, 1, Q, P) or (Q, P) to add."""

    queries: slice
    keys: slice
    bias: Tensor


def blocks(steps: int, window: int, like: Tensor, mask: Tensor | None = None) -> list[WindowBlock]:
    """Divide a sequence into blocks, in which each step attends to the steps whose distance is at most `window`.

    `mask` (B or 1, 1, 1, T) is also added to the scores, but every step attends at least to itself. The masks have the
    device and dtype of `like`.
    """
    band = _band(window, like.dtype, like.device)
    divided = []
    for start in range(0, steps, BLOCK):
        stop = min(start + BLOCK, steps)
        first, last = max(0, start - window), min(stop + window, steps)
        bias = band[: stop - start, first - start + window : last - start + window]
        if mask is not None:
            bias = bias + mask[..., first:last]
            # A step of padding may have only padding in its window, and a softmax over no steps would be NaN.
            bias.diagonal(start - first, -2, -1).zero_()
        divided.append(WindowBlock(slice(start, stop), slice(first, last), bias))
    return divided


def attend(queries_BHTK: Tensor, keys_BGTK: Tensor, values_BGTK: Tensor, divided: list[WindowBlock]) -> Tensor:
    """Return mixed_BHTK. The time and memory are proportional to T, because each block has few keys."""
    shared = keys_BGTK.shape[1] < queries_BHTK.shape[1]
    mixed = [
        functional.scaled_dot_product_attention(
            queries_BHTK[:, :, block.queries],
            keys_BGTK[:, :, block.keys],
            values_BGTK[:, :, block.keys],
            block.bias,
            enable_gqa=shared,
        )
        for block in divided
    ]
    return torch.cat(mixed, 2)


@functools.lru_cache(maxsize=64)
def _band(window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the mask (BLOCK, BLOCK + 2 window) of a block of queries. Key 0 is `window` steps before query 0."""
    # A tensor that is created in inference mode cannot be used in training.
    with torch.inference_mode(False):
        ahead = torch.arange(BLOCK + 2 * window, device=device) - torch.arange(BLOCK, device=device)[:, None]
        outside = (ahead < 0) | (ahead > 2 * window)
        return torch.zeros(outside.shape, dtype=dtype, device=device).masked_fill_(outside, float("-inf"))
