"""The n-gram branch of a language model: an embedding for each short sequence of tokens.

The last 2, 3, … tokens are hashed into a table of vectors (as in Bojanowski et al., 2017). The sum of these vectors is
added to the hidden vector that the next token is predicted from. Since the table learns frequent continuations, the
network is free to learn longer dependencies (Roy et al., 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import ModelConfig
from models.interface import Context
from models.ngrams import bucket_of

_DIGITS = 3  # the number of base-256 digits of a token; every floating-point dtype represents each digit exactly
_BASE = 0x9E3779B1


class TokenNgrams(nn.Module):
    """Computes vectors (B, T, D) for the n-grams that end at each step. `weight` has one row per bucket."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.longest = config.ngram_tokens
        self.weight = nn.Parameter(torch.empty(config.ngram_buckets, config.width))

    @property
    def state_shape(self) -> tuple[int, int]:
        """The shape of the state tensor for each slot.

        The tensor contains the ids of the previous tokens, each increased by 1, as three digits of base 256.
        """
        return self.longest - 1, _DIGITS

    def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
        """Return vectors_BTD. The last layer of the state stores the previous tokens, and is updated in place."""
        before_BH = self._previous(ids_BT, context)
        symbols_BS = torch.cat((before_BH, ids_BT + 1), 1)  # 0: no token
        buckets_BTN = self._buckets(symbols_BS, ids_BT.shape[1])
        if context.state is not None:
            self._remember(symbols_BS, context.steps(ids_BT), context.state.layers[-1][0])
        vectors_ND = functional.embedding_bag(buckets_BTN.flatten(0, 1), self.weight, mode="sum", sparse=self.training)
        return vectors_ND.view(*ids_BT.shape, -1)

    def history(self, ids: Sequence[int]) -> Tensor:
        """Return the state after the tokens `ids`, with the shape `state_shape`."""
        last = [0] * (self.longest - 1) + [token + 1 for token in ids[max(0, len(ids) - self.longest + 1) :]]
        symbols_1S = torch.tensor([last[1 - self.longest :]], device=self.weight.device)
        return _digits(symbols_1S)[0]

    def _previous(self, ids_BT: Tensor, context: Context) -> Tensor:
        if context.state is None:
            return ids_BT.new_zeros(len(ids_BT), self.longest - 1)
        digits_BHN = context.state.layers[-1][0].long()
        powers_N = torch.tensor([1, 256, 65_536], device=ids_BT.device)
        return (digits_BHN * powers_N).sum(2)

    def _buckets(self, symbols_BS: Tensor, steps: int) -> Tensor:
        """Return buckets_BTN, one for each n-gram length from 2 to `longest`."""
        bits = len(self.weight).bit_length() - 1
        history = self.longest - 1
        hashes_BT = symbols_BS[:, history:] * _BASE
        buckets = []
        for back in range(1, self.longest):
            hashes_BT = (hashes_BT + symbols_BS[:, history - back : history - back + steps]) * _BASE
            buckets.append(bucket_of(hashes_BT, bits))
        return torch.stack(buckets, 2)

    def _remember(self, symbols_BS: Tensor, steps: list[int], digits_BHN: Tensor) -> None:
        """Store the last tokens of each row. A row without a step keeps its tokens."""
        starts_B1 = torch.tensor(steps, device=symbols_BS.device)[:, None]
        last_BH = symbols_BS.gather(1, starts_B1 + torch.arange(self.longest - 1, device=symbols_BS.device))
        digits_BHN.copy_(_digits(last_BH))


def _digits(symbols_BH: Tensor) -> Tensor:
    """Return digits_BHN of symbols below 2**24."""
    return torch.stack([symbols_BH & 255, symbols_BH >> 8 & 255, symbols_BH >> 16], 2)
