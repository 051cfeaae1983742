"""Local attention: each step attends only to near steps (sliding windows: Beltagy et al., 2020, section 3.1)."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from models.choices import LOCAL_BLOCK as BLOCK


def limits(window: int, steps: int) -> bool:
    """Whether a window (0: none) excludes any step of a sequence."""
    return 0 < window < steps - 1


def attend(
    queries_BHTK: Tensor, keys_BGTK: Tensor, values_BGTK: Tensor, window: int, mask: Tensor | None = None
) -> Tensor:
    """Return mixed_BHTK. Each step attends to the steps of its row whose distance is at most `window`.

    `mask` (B or 1, 1, 1, T) is added to the scores. The time and memory are proportional to T, because blocks of
    queries are compared only with the keys in their windows.
    """
    steps, shared = queries_BHTK.shape[2], keys_BGTK.shape[1] < queries_BHTK.shape[1]
    band = _band(window, queries_BHTK.dtype, queries_BHTK.device)
    if mask is not None:
        # A step of padding may have only padding in its window. With finite scores, its softmax is not NaN.
        mask = mask.clamp(min=torch.finfo(mask.dtype).min)
    blocks = []
    for start in range(0, steps, BLOCK):
        stop = min(start + BLOCK, steps)
        first, last = max(0, start - window), min(stop + window, steps)
        bias = band[: stop - start, first - start + window : last - start + window]
        bias = bias if mask is None else bias + mask[..., first:last]
        keys_BGPK, values_BGPK = keys_BGTK[:, :, first:last], values_BGTK[:, :, first:last]
        queries = queries_BHTK[:, :, start:stop]
        blocks.append(functional.scaled_dot_product_attention(queries, keys_BGPK, values_BGPK, bias, enable_gqa=shared))
    return torch.cat(blocks, 2)


@functools.lru_cache(maxsize=64)
def _band(window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the mask (BLOCK, BLOCK + 2 window) of a block of queries. Key 0 is `window` steps before query 0."""
    # A tensor that is created in inference mode cannot be used in training.
    with torch.inference_mode(False):
        ahead = torch.arange(BLOCK + 2 * window, device=device) - torch.arange(BLOCK, device=device)[:, None]
        outside = (ahead < 0) | (ahead > 2 * window)
        return torch.zeros(outside.shape, dtype=dtype, device=device).masked_fill_(outside, float("-inf"))
