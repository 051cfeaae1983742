"""The parts of a Transformer: norms, positions, attention over what was said before, the MLP, a block.

Knows vectors and a plan of who may look at whom; knows no tokens, no task, and no more of a state than its tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import ModelConfig

Cache = tuple[Tensor, ...]  # keys_SGPK, values_SGPK: P positions


@dataclass(slots=True)
class Places:
    """Where the new steps of a call go in the cache: entry n is step `step_N[n]` of row `row_N[n]`.

    `step_N` None: the one step of every row. `reach`: how many positions of the cache anybody looks at.
    """

    row_N: Tensor
    step_N: Tensor | None
    position_N: Tensor
    reach: int


@dataclass(slots=True)
class AttentionPlan:
    """What all layers of one call share.

    `mask`: added to the scores, (B or 1, 1, T, P), or None. `causal`: each step sees itself and what is before it.
    `cosine` and `sine` (…, T, 1, K) turn queries and keys; None: no rotary positions.
    `places`: where keys and values are kept and looked up; None: the call's own are all there are.
    `spans`: the rows stand one after the other in the time dimension of a single row, without padding, and each looks
    at itself alone; span (rows, steps) is so many rows of so many steps. None: every row is a row.
    """

    mask: Tensor | None = None
    causal: bool = False
    cosine: Tensor | None = None
    sine: Tensor | None = None
    places: Places | None = None
    spans: list[tuple[int, int]] | None = None


def norm(config: ModelConfig) -> nn.Module:
    kind = nn.RMSNorm if config.norm == "rms" else nn.LayerNorm
    return kind(config.width, eps=config.norm_eps)


def rotated(x_BTHK: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021), turning value k of a head together with value k + K/2.

    The first half of `sine` is negative: three kernels then do what else takes seven.
    """
    first, second = x_BTHK.chunk(2, -1)
    return torch.addcmul(x_BTHK * cosine, torch.cat((second, first), -1), sine)


class Attention(nn.Module):
    """Scaled dot-product attention; `groups` of heads may share their keys and values (Ainslie et al. 2023)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.groups, self.head_width = config.heads, config.groups, config.width // config.heads
        together = (self.heads + 2 * self.groups) * self.head_width
        self.qkv = nn.Linear(config.width, together, bias=config.bias)
        self.out = nn.Linear(config.width, config.width, bias=config.bias)

    def forward(self, x_BTD: Tensor, plan: AttentionPlan, cache: Cache | None) -> Tensor:
        rows, steps, width = x_BTD.shape
        qkv_BTHK = self.qkv(x_BTD).view(rows, steps, -1, self.head_width)
        turned_BTHK, values_BTGK = qkv_BTHK.split((self.heads + self.groups, self.groups), 2)
        if plan.cosine is not None and plan.sine is not None:
            turned_BTHK = rotated(turned_BTHK, plan.cosine, plan.sine)
        queries_BTHK, keys_BTGK = turned_BTHK.split((self.heads, self.groups), 2)
        keys_BGPK, values_BGPK = keys_BTGK.transpose(1, 2), values_BTGK.transpose(1, 2)
        if cache is not None and plan.places is not None:
            keys_BGPK = _remembered(cache[0], keys_BTGK, plan.places)
            values_BGPK = _remembered(cache[1], values_BTGK, plan.places)
        mixed_BTHK = _attend(queries_BTHK, keys_BGPK, values_BGPK, plan)
        output_BTD: Tensor = self.out(mixed_BTHK.reshape(rows, steps, width))
        return output_BTD


def _remembered(kept_BGPK: Tensor, new_BTGK: Tensor, places: Places) -> Tensor:
    """Write the new steps in place; return what there is to look at."""
    new_NGK = new_BTGK[:, 0] if places.step_N is None else new_BTGK[places.row_N, places.step_N]
    kept_BGPK[places.row_N, :, places.position_N] = new_NGK.detach().to(kept_BGPK.dtype)
    return kept_BGPK[:, :, : places.reach]


def _attend(queries_BTHK: Tensor, keys_BGPK: Tensor, values_BGPK: Tensor, plan: AttentionPlan) -> Tensor:
    if plan.spans is not None:
        return _attend_apart(queries_BTHK, keys_BGPK, values_BGPK, plan.spans)
    rows, steps, heads, head_width = queries_BTHK.shape
    groups, attention = keys_BGPK.shape[1], functional.scaled_dot_product_attention
    if steps == 1:
        # The heads of a group are so many queries to the same keys: nothing has to be repeated.
        grouped = queries_BTHK.reshape(rows, groups, heads // groups, head_width).to(keys_BGPK.dtype)
        mixed = attention(grouped, keys_BGPK, values_BGPK, plan.mask)
        return mixed.view(rows, 1, heads, head_width).to(queries_BTHK.dtype)
    queries_BHTK = queries_BTHK.transpose(1, 2).to(keys_BGPK.dtype)
    mixed = attention(queries_BHTK, keys_BGPK, values_BGPK, plan.mask, is_causal=plan.causal, enable_gqa=groups < heads)
    return mixed.transpose(1, 2).to(queries_BTHK.dtype)


def _attend_apart(queries_1NHK: Tensor, keys_1GNK: Tensor, values_1GNK: Tensor, spans: list[tuple[int, int]]) -> Tensor:
    """Every row by itself, rows of equal length together: no mask, and no work for padding."""
    mixed_1NHK, start = torch.empty_like(queries_1NHK), 0
    heads, groups, head_width = queries_1NHK.shape[2], keys_1GNK.shape[1], queries_1NHK.shape[3]
    for rows, steps in spans:
        stop, split = start + rows * steps, (rows, steps, -1, head_width)
        queries_BHTK = queries_1NHK[0, start:stop].view(split).transpose(1, 2)
        keys_BGTK, values_BGTK = (
            part_1GNK[0, :, start:stop].transpose(0, 1).view(split).transpose(1, 2)
            for part_1GNK in (keys_1GNK, values_1GNK)
        )
        mixed_BHTK = functional.scaled_dot_product_attention(
            queries_BHTK, keys_BGTK, values_BGTK, enable_gqa=groups < heads
        )
        mixed_1NHK[0, start:stop].view(split).copy_(mixed_BHTK.transpose(1, 2))
        start = stop
    return mixed_1NHK


class MLP(nn.Module):
    """Two linear maps with an activation between; `swiglu` has a gate, the first half of `up` (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.up = nn.Linear(config.width, config.inner_width * (2 if self.gated else 1), bias=config.bias)
        self.down = nn.Linear(config.inner_width, config.width, bias=config.bias)

    @property
    def gated(self) -> bool:
        return self.activation == "swiglu"

    def forward(self, x_BTD: Tensor) -> Tensor:
        output_BTD: Tensor = self.down(self._activated(self.up(x_BTD)))
        return output_BTD

    def _activated(self, up: Tensor) -> Tensor:
        if self.gated:
            gate, up = up.chunk(2, -1)
            return functional.silu(gate) * up
        return functional.gelu(up) if self.activation == "gelu" else functional.relu(up)


class Block(nn.Module):
    """Attention and MLP, each added to what it read. `norm_first`: the norm stands before them, else after the sum."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.attention, self.mlp = Attention(config), MLP(config)
        self.norm_attention, self.norm_mlp = norm(config), norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, plan: AttentionPlan, cache: Cache | None) -> Tensor:
        if self.norm_first:
            x_BTD = x_BTD + self.dropout(self.attention(self.norm_attention(x_BTD), plan, cache))
            output_BTD: Tensor = x_BTD + self.dropout(self.mlp(self.norm_mlp(x_BTD)))
        else:
            x_BTD = self.norm_attention(x_BTD + self.dropout(self.attention(x_BTD, plan, cache)))
            output_BTD = self.norm_mlp(x_BTD + self.dropout(self.mlp(x_BTD)))
        return output_BTD
