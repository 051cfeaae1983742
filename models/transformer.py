"""The Transformer bodies: a causal decoder that can continue from a state, and a bidirectional encoder."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from models import interruption
from models.angles import Angles
from models.config import ModelConfig
from models.interface import Context
from models.layers import AttentionPlan, Block, KeysAndValues, Places, Rotation, norm
from models.state import POSITIONS, State, StateFull


class Transformer(nn.Module):
    """The base class of the encoder and the decoder: positions, blocks, and norms before and after the blocks."""

    causal: ClassVar[bool]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.width, self.config = config.width, config
        learned = config.positions == "learned"
        self.positions = nn.Embedding(config.context_length, config.width) if learned else None
        self.norm_input = norm(config) if config.input_norm else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = norm(config) if config.final_norm else None
        rotary = config.positions == "rotary"
        self._angles = (
            Angles(config.key_width, config.rotary_base, config.rotary_scaling) if rotary else Angles(config.width)
        )
        self._local_angles = Angles(config.key_width, config.local_rotary_base, config.rotary_scaling)

    def new_state(self, slots: int) -> State:
        raise TypeError("an encoder has no state, because it reads only whole sequences")

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        """Return hidden_BTD. A call with a state is for inference only: the state has no gradients."""
        plan, positions, reach = self._plan(x_BTD, context)
        caches = (None,) * len(self.blocks) if context.state is None else context.state.layers
        hidden_BTD = self._blocks(self._with_positions(x_BTD, positions, reach), plan, caches)
        if context.state is not None:
            context.state.advance(context.steps(x_BTD))
        return hidden_BTD

    def _blocks(self, x_BTD: Tensor, plan: AttentionPlan, caches: Sequence[KeysAndValues | None]) -> Tensor:
        x_BTD = self.dropout(x_BTD if self.norm_input is None else self.norm_input(x_BTD))
        for block, cache in zip(self.blocks, caches, strict=True):
            interruption.check()
            x_BTD = block(x_BTD, plan, cache)
        return x_BTD if self.norm is None else self.norm(x_BTD)

    def _plan(self, x_BTD: Tensor, context: Context) -> tuple[AttentionPlan, Tensor, int]:
        """Return the attention plan, the steps' positions (shape (T,) or (B, T)), and their exclusive upper bound."""
        raise NotImplementedError

    def _with_positions(self, x_BTD: Tensor, positions: Tensor, reach: int) -> Tensor:
        if self.positions is not None:
            summed_BTD: Tensor = x_BTD + self.positions(positions)
            return summed_BTD
        if self.config.positions == "sinusoidal":
            sine, cosine = self._angles.up_to(reach, x_BTD)
            # Interleaved: even dimensions are sines, odd ones cosines (Vaswani et al., 2017, section 3.5).
            return x_BTD + torch.stack((sine[positions], cosine[positions]), -1).flatten(-2)
        return x_BTD

    def _rotations(self, x_BTD: Tensor, positions: Tensor, reach: int) -> Rotation:
        """Return `cosine` and `sine` (…, T, 1, K) of an `AttentionPlan`, in the form that `layers.rotated` expects."""
        if self.config.positions != "rotary":
            return None, None
        return _rotation(self._angles, x_BTD, positions, reach)

    def _local_rotations(self, x_BTD: Tensor, positions: Tensor, reach: int) -> Rotation | None:
        """Return `local` of an `AttentionPlan`."""
        if self.config.positions != "rotary" or not self.config.attention_window:
            return None
        return _rotation(self._local_angles, x_BTD, positions, reach)

    def _check_length(self, longest: int) -> None:
        if longest > self.config.context_length:
            raise StateFull(f"{longest} positions are needed, but the context length is {self.config.context_length}")


def _rotation(angles: Angles, x_BTD: Tensor, positions: Tensor, reach: int) -> Rotation:
    sine, cosine = (table[positions].unsqueeze(-2) for table in angles.up_to(reach, x_BTD))
    return torch.cat((cosine, cosine), -1), torch.cat((-sine, sine), -1)


# An attention call for one row takes about as long as this many multiplications within a matrix product
# (measured on two cores with AVX2, see docs/log.md).
ROW_COST = 2**16


class TransformerEncoder(Transformer):
    """An encoder in which every step attends to every real step of its row or, in local layers, to the near ones."""

    causal = False

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        """Return hidden_BTD. During inference, padding is omitted if that is faster."""
        if context.lengths_B is not None and not torch.is_grad_enabled():
            steps = context.steps(x_BTD)
            padding = len(steps) * x_BTD.shape[1] - sum(steps)
            # Each step of padding adds matrix products with `width` squared multiplications each. Omitting the padding
            # adds at most one attention call per row.
            if padding * self.width**2 > ROW_COST * len(steps):
                return self._without_padding(x_BTD, steps)
        return super().forward(x_BTD, context)

    def _without_padding(self, x_BTD: Tensor, steps: list[int]) -> Tensor:
        """Compute `forward` for inference. Concatenates the real steps of all rows into a single row of N steps."""
        rows, longest, width = x_BTD.shape
        self._check_length(longest)
        # Consecutive rows of equal length share one attention call.
        spans = [(len(list(same)), count) for count, same in itertools.groupby(steps) if count]
        time_T = torch.arange(longest, device=x_BTD.device)
        real_BT = time_T < torch.tensor(steps, device=x_BTD.device)[:, None]
        place_N = real_BT.flatten().nonzero()[:, 0]
        position_1N = time_T.expand(rows, longest)[real_BT][None]
        x_1ND = x_BTD.reshape(rows * longest, width)[place_N][None]
        plan = AttentionPlan(None, False, *self._rotations(x_1ND, position_1N, longest), spans=spans)
        plan.local = self._local_rotations(x_1ND, position_1N, longest)
        summed_1ND = self._with_positions(x_1ND, position_1N, longest)
        hidden_1ND = self._blocks(summed_1ND, plan, (None,) * len(self.blocks))
        hidden_BTD = hidden_1ND.new_zeros(rows * longest, width).index_copy_(0, place_N, hidden_1ND[0])
        return hidden_BTD.view(rows, longest, width)

    def _plan(self, x_BTD: Tensor, context: Context) -> tuple[AttentionPlan, Tensor, int]:
        if context.state is not None:
            raise TypeError("an encoder has no state, because it reads only whole sequences")
        steps = x_BTD.shape[1]
        self._check_length(steps)
        time_T = torch.arange(steps, device=x_BTD.device)
        mask = None
        if context.lengths_B is not None:
            # An empty row attends to its first step of padding, because a softmax over no steps would be NaN.
            mask = _bias(time_T < context.lengths_B.to(x_BTD.device).clamp(min=1)[:, None], x_BTD.dtype)[:, None, None]
        plan = AttentionPlan(mask, False, *self._rotations(x_BTD, time_T, steps))
        plan.local = self._local_rotations(x_BTD, time_T, steps)
        return plan, time_T, steps


class TransformerDecoder(Transformer):
    """A decoder in which every step attends to itself and to earlier steps of its row.

    The state contains keys and values.
    """

    causal = True

    def new_state(self, slots: int) -> State:
        """Create a state of keys and values, one pair of tensors (slots, G, P, K) for each layer."""
        config, weight = self.config, next(self.parameters())
        shape = (config.groups, POSITIONS, config.key_width)
        limit = config.context_length
        # On a CPU, attention of one query over bfloat16 keys takes three to six times as long as over float32 keys.
        dtype = torch.float32 if weight.device.type == "cpu" else weight.dtype
        return State.new([[shape, shape]] * config.layers, slots, limit=limit, dtype=dtype, device=weight.device)

    def _plan(self, x_BTD: Tensor, context: Context) -> tuple[AttentionPlan, Tensor, int]:
        steps = x_BTD.shape[1]
        if context.state is None:
            # Padding is on the right, where a causal mask hides it from all real steps.
            self._check_length(steps)
            time_T = torch.arange(steps, device=x_BTD.device)
            return AttentionPlan(None, True, *self._rotations(x_BTD, time_T, steps)), time_T, steps
        return self._plan_with(context.state, context.steps(x_BTD), x_BTD)

    def _plan_with(self, state: State, counts: list[int], x_BTD: Tensor) -> tuple[AttentionPlan, Tensor, int]:
        """Return the plan for a call in which row b continues from slot b of `state` with counts[b] real steps."""
        starts, steps, device = state.positions, x_BTD.shape[1], x_BTD.device
        reach = max(1, *(start + count for start, count in zip(starts, counts, strict=True)))
        state.reserve(reach)  # raises `StateFull` before anything is written
        start_B = torch.tensor(starts, device=device)
        positions_BT = start_B[:, None] + torch.arange(steps, device=device)
        seen_BTP = torch.arange(reach, device=device) <= positions_BT[:, :, None]
        # If all rows have a single step at the same position, that step attends to every position that the call reads,
        # so no mask is needed.
        equal = steps == 1 and min(starts) == max(starts)
        mask = None if equal else _bias(seen_BTP, state.dtype)[:, None]
        places = _places(counts, steps, start_B, reach)
        # Steps of padding can be at positions without angles or embeddings, so their positions are clamped.
        positions_BT = positions_BT.clamp(max=reach - 1)
        return AttentionPlan(mask, False, *self._rotations(x_BTD, positions_BT, reach), places), positions_BT, reach


def _bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask to add to attention scores: 0 where `seen` is true, minus infinity elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))


def _places(counts: list[int], steps: int, start_B: Tensor, reach: int) -> Places:
    """Return the cache entries for the real steps of a call: counts[b] steps of row b, from position start_B[b] on."""
    device = start_B.device
    if steps == 1 and all(counts):
        # The usual decode step: every row has one real step, so the new keys and values do not need a gather.
        return Places(torch.arange(len(counts), device=device), None, start_B, reach)
    real = [(row, step) for row, count in enumerate(counts) for step in range(count)]
    row_N, step_N = torch.tensor(real, dtype=torch.int64, device=device).view(-1, 2).unbind(1)
    return Places(row_N, step_N, start_B[row_N] + step_N, reach)
