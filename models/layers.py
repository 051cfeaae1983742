"""The components of a Transformer: norms, rotary positions, attention with an optional cache, MLP and block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import windows
from models.config import ModelConfig
from models.kernels import reference
from models.kernels.port import KernelLayer, Kernels, Product

Rotation = tuple[Tensor | None, Tensor | None]  # the cosine and sine of an `AttentionPlan`
KeysAndValues = tuple[Tensor, ...]  # keys_SGPK, values_SGPK: P positions

_ACTIVATIONS = {
    "swiglu": "silu",
    "geglu": "gelu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_tanh",
    "relu": "relu",
}  # MLP activation -> its name in kernels


@dataclass(slots=True)
class Places:
    """The cache entries that a call writes: entry n is step `step_N[n]` of row `row_N[n]`, at position `position_N[n]`.

    If `step_N` is None, every row has a single step. `reach` is the number of cache positions that the call reads.
    """

    row_N: Tensor
    step_N: Tensor | None
    position_N: Tensor
    reach: int


@dataclass(slots=True)
class AttentionPlan:
    """The data shared by all attention layers of one call.

    - `mask` is added to the scores, (B or 1, 1, T, P); None: no mask.
    - `causal`: if true, each step attends to itself and to earlier steps.
    - `cosine` and `sine` (…, T, 1, K) rotate queries and keys; None: no rotary positions.
    - `local`: the cosine and sine of layers with an attention window; None: there are no such layers.
    - `blocks`: the blocks of these layers, created by the first of them.
    - `places`: where the new keys and values are stored in the cache. None: there is no cache, and queries attend only
      to the steps of this call.
    - `spans`: all rows are concatenated, without padding, along the time dimension of a single row, and each original
      row attends only to itself. A span (rows, steps) stands for `rows` consecutive rows of `steps` steps each. None:
      the rows are not concatenated.
    """

    mask: Tensor | None = None
    causal: bool = False
    cosine: Tensor | None = None
    sine: Tensor | None = None
    places: Places | None = None
    spans: list[tuple[int, int]] | None = None
    local: Rotation | None = None
    blocks: list[windows.WindowBlock] | None = None


class RMSNorm(nn.RMSNorm):
    """An RMSNorm (Zhang and Sennrich, 2019, section 4) that casts its weights to the dtype of the input.

    Under automatic mixed precision, the input is in bfloat16 and the weights are in float32. If the dtypes differ,
    PyTorch issues a warning and does not use its fused implementation.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.to(x.dtype)
        return functional.rms_norm(x, list(self.normalized_shape), weight, self.eps)


def norm(config: ModelConfig) -> nn.Module:
    """Return an RMSNorm (Zhang and Sennrich, 2019, section 4) or a LayerNorm (Ba et al., 2016, section 3)."""
    if config.norm == "rms":
        return RMSNorm(config.width, eps=config.norm_eps)
    return nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.norm_bias)


def rotated(x_BTHK: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Apply rotary positions (Su et al., 2021, section 3.2.2) to every head.

    Value k of a head is paired with value k + K/2, as in GPT-NeoX and Llama, because the halves are contiguous. The
    paper pairs neighbouring values instead. The first half of `sine` (…, T, 1, K) is negated, so that a rotation takes
    three operations instead of seven.
    """
    first, second = x_BTHK.chunk(2, -1)
    return torch.addcmul(x_BTHK * cosine, torch.cat((second, first), -1), sine)


class Attention(KernelLayer):
    """Scaled dot-product attention (Vaswani et al., 2017, section 3.2).

    With fewer key-value heads (`groups`) than heads, several heads share keys and values: grouped-query attention
    (Ainslie et al., 2023, section 2.2). With `qk_norm`, the queries and keys of each head are normalised with RMSNorm
    before they are rotated (Dehghani et al., 2023, section 2). Layers may have no rotary positions, or a window
    (`models/windows.py`).
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.groups, self.head_width = config.heads, config.groups, config.key_width
        self.rotates = not config.rotary_skip or (layer + 1) % config.rotary_skip > 0
        self.window = config.window(layer)
        together = (self.heads + 2 * self.groups) * self.head_width
        self.qkv = nn.Linear(config.width, together, bias=config.bias or config.qkv_bias)
        self.out = nn.Linear(self.heads * self.head_width, config.width, bias=config.bias)
        self.norm_queries, self.norm_keys = (
            RMSNorm(self.head_width, eps=config.norm_eps) if config.qk_norm else None for _ in range(2)
        )
        self._bound: tuple[Product, Product] | None = None

    def forward(self, x_BTD: Tensor, plan: AttentionPlan, cache: KeysAndValues | None) -> Tensor:
        """Return output_BTD.

        With a cache, new keys and values are added to the cache, and queries attend to its contents.
        """
        # Call the layers instead of using their weights, because training may replace a layer with `LowRankLinear`.
        project, output = self._bound or (self.qkv, self.out)
        rows, steps, _ = x_BTD.shape
        qkv_BTHK = project(x_BTD).view(rows, steps, -1, self.head_width)
        # Queries and keys are adjacent in qkv, so one call rotates both.
        rotated_BTHK, values_BTGK = torch.split(qkv_BTHK, [self.heads + self.groups, self.groups], 2)
        if self.norm_queries is not None and self.norm_keys is not None:
            queries_BTHK, keys_BTGK = torch.split(rotated_BTHK, [self.heads, self.groups], 2)
            rotated_BTHK = torch.cat((self.norm_queries(queries_BTHK), self.norm_keys(keys_BTGK)), 2)
        cosine, sine = plan.local if self.window and plan.local is not None else (plan.cosine, plan.sine)
        if cosine is not None and sine is not None and self.rotates:
            rotated_BTHK = rotated(rotated_BTHK, cosine, sine)
        queries_BTHK, keys_BTGK = torch.split(rotated_BTHK, [self.heads, self.groups], 2)
        keys_BGPK, values_BGPK = keys_BTGK.transpose(1, 2), values_BTGK.transpose(1, 2)
        if cache is not None and plan.places is not None:
            keys_BGPK = _update(cache[0], keys_BTGK, plan.places)
            values_BGPK = _update(cache[1], values_BTGK, plan.places)
        mixed_BTHK = _attend(queries_BTHK, keys_BGPK, values_BGPK, plan, self.window)
        return output(mixed_BTHK.reshape(rows, steps, -1))

    def _products(self, kernels: Kernels) -> tuple[Product, Product]:
        return kernels.linear(self.qkv.weight, self.qkv.bias), kernels.linear(self.out.weight, self.out.bias)

    def bind(self, kernels: Kernels) -> int:
        if isinstance(self.qkv, KernelLayer):  # a `SharedLinear`, which is bound separately
            return 0
        self._bound = self._products(kernels)
        del self.qkv, self.out
        return 0


def _update(cache_BGPK: Tensor, new_BTGK: Tensor, places: Places) -> Tensor:
    """Write the new keys or values to the cache in place, and return the part of the cache that this call reads."""
    new_NGK = new_BTGK[:, 0] if places.step_N is None else new_BTGK[places.row_N, places.step_N]
    # One indexed write stores all rows, at any positions. Padding has no entry in `places`, so it is not written.
    cache_BGPK[places.row_N, :, places.position_N] = new_NGK.detach().to(cache_BGPK.dtype)
    return cache_BGPK[:, :, : places.reach]


def _attend(queries_BTHK: Tensor, keys_BGPK: Tensor, values_BGPK: Tensor, plan: AttentionPlan, window: int) -> Tensor:
    """Return the attention output mixed_BTHK, computed in the dtype of the keys and values.

    On a CPU, a cache is always float32 (see `TransformerDecoder.new_state`).
    """
    if plan.spans is not None:
        return _attend_spans(queries_BTHK, keys_BGPK, values_BGPK, plan.spans, window)
    rows, steps, heads, head_width = queries_BTHK.shape
    groups, attention = keys_BGPK.shape[1], functional.scaled_dot_product_attention
    if steps == 1:
        # In a decode step, the heads of a group are treated as queries of one head, so that keys and values are read
        # once per group and not repeated in memory.
        grouped = queries_BTHK.reshape(rows, groups, heads // groups, head_width).to(keys_BGPK.dtype)
        mixed = attention(grouped, keys_BGPK, values_BGPK, plan.mask)
        return mixed.view(rows, 1, heads, head_width).to(queries_BTHK.dtype)
    queries_BHTK = queries_BTHK.transpose(1, 2).to(keys_BGPK.dtype)
    if windows.limits(window, steps):
        if plan.blocks is None:  # all local layers have the same window
            plan.blocks = windows.blocks(steps, window, queries_BHTK, plan.mask)
        mixed = windows.attend(queries_BHTK, keys_BGPK, values_BGPK, plan.blocks)
        return mixed.transpose(1, 2).to(queries_BTHK.dtype)
    mixed = attention(queries_BHTK, keys_BGPK, values_BGPK, plan.mask, is_causal=plan.causal, enable_gqa=groups < heads)
    return mixed.transpose(1, 2).to(queries_BTHK.dtype)


def _attend_spans(
    queries_1NHK: Tensor, keys_1GNK: Tensor, values_1GNK: Tensor, spans: list[tuple[int, int]], window: int
) -> Tensor:
    """Compute attention for concatenated rows: one call per span, without padding."""
    mixed_1NHK, start = torch.empty_like(queries_1NHK), 0
    heads, groups, head_width = queries_1NHK.shape[2], keys_1GNK.shape[1], queries_1NHK.shape[3]
    for rows, steps in spans:
        stop, split = start + rows * steps, (rows, steps, -1, head_width)
        queries_BHTK = queries_1NHK[0, start:stop].view(split).transpose(1, 2)
        keys_BGTK, values_BGTK = (
            part_1GNK[0, :, start:stop].transpose(0, 1).view(split).transpose(1, 2)
            for part_1GNK in (keys_1GNK, values_1GNK)
        )
        if windows.limits(window, steps):
            blocks = windows.blocks(steps, window, queries_BHTK)
            mixed_BHTK = windows.attend(queries_BHTK, keys_BGTK, values_BGTK, blocks)
        else:
            mixed_BHTK = functional.scaled_dot_product_attention(
                queries_BHTK, keys_BGTK, values_BGTK, enable_gqa=groups < heads
            )
        mixed_1NHK[0, start:stop].view(split).copy_(mixed_BHTK.transpose(1, 2))
        start = stop
    return mixed_1NHK


class MLP(KernelLayer):
    """Two linear maps with an activation between them (Vaswani et al., 2017, section 3.3).

    With a gate (`swiglu`, `geglu`), the output of the first linear map is split in half; the activation is applied to
    the first half, which is then multiplied elementwise by the second (Shazeer, 2020, section 2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation, self.gated = _ACTIVATIONS[config.activation], config.gated
        self.up = nn.Linear(config.width, config.inner_width * (2 if self.gated else 1), bias=config.bias)
        self.down = nn.Linear(config.inner_width, config.width, bias=config.bias)
        self._bound: tuple[Product, Product] | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return (B, T, D), computed for each step separately."""
        up, down = self._bound or (self._hidden, self.down)
        return down(up(x_BTD))

    def _hidden(self, x_BTD: Tensor) -> Tensor:
        return reference.activated(self.up(x_BTD), self.activation, gated=self.gated)

    def _products(self, kernels: Kernels) -> tuple[Product, Product]:
        up = kernels.linear_gated if self.gated else kernels.linear_activation
        return up(self.up.weight, self.up.bias, self.activation), kernels.linear(self.down.weight, self.down.bias)

    def bind(self, kernels: Kernels) -> int:
        if isinstance(self.up, KernelLayer):  # a `SharedLinear`, which is bound separately
            return 0
        self._bound = self._products(kernels)
        del self.up, self.down
        return 0


class Block(nn.Module):
    """Attention and MLP, each with a residual connection.

    With `norm_first`, the inputs of attention and MLP are normalised (pre-norm: Xiong et al., 2020). Otherwise, the sum
    after each residual connection is normalised (post-norm), as in the original Transformer.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.attention, self.mlp = Attention(config, layer), MLP(config)
        self.norm_attention = norm(config) if config.first_norm or layer else nn.Identity()
        self.norm_mlp = norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, plan: AttentionPlan, cache: KeysAndValues | None) -> Tensor:
        """Return hidden_BTD. `cache` contains the keys and values of earlier steps, and is written in place."""
        if self.norm_first:
            x_BTD = x_BTD + self.dropout(self.attention(self.norm_attention(x_BTD), plan, cache))
            output_BTD: Tensor = x_BTD + self.dropout(self.mlp(self.norm_mlp(x_BTD)))
        else:
            x_BTD = self.norm_attention(x_BTD + self.dropout(self.attention(x_BTD, plan, cache)))
            output_BTD = self.norm_mlp(x_BTD + self.dropout(self.mlp(x_BTD)))
        return output_BTD
