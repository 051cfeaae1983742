"""Default sizes and training settings for the n-gram branch and for `linear`, which consists only of such a branch.

`docs/log.md` records the experiments behind these defaults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TABLE_BYTES = 32 * 2**20  # the maximum size of the table, including its inverse document frequencies
LEAST_BUCKETS, MOST_BUCKETS = 2**14, 2**20
LEAST_TOKEN_BUCKETS = 2**10
NGRAMS_PER_CHARACTER = 4.5  # n-grams of 2, 3, 4 and 5 characters start at each character; words add some more
CHARACTERS_PER_TOKEN = 4.0  # on average, with byte-pair encoding
EPOCHS, ROW_PASSES = 10.0, 400_000  # large data sets need fewer epochs: `ROW_PASSES` rows in total
FEW_ROWS = 1_000  # with fewer training rows, the default number of steps is too small


@dataclass(frozen=True, slots=True)
class NgramRecipe:
    """The branch's sizes (as in `ModelConfig`), number of passes over the training rows, and learning rate.

    `batch_size` applies to the architecture `linear` only. A branch of a network uses the network's batch size.
    """

    buckets: int
    characters: int
    words: int
    epochs: float
    learning_rate: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class TokenNgramRecipe:
    """The sizes (as in `ModelConfig`) and the learning rate of a language model's branch."""

    buckets: int
    tokens: int
    learning_rate: float


Branch = NgramRecipe | TokenNgramRecipe


def token_ngrams(tokens: int, width: int) -> TokenNgramRecipe:
    """Return the n-gram recipe for a training text of `tokens` tokens and a network with hidden size `width`."""
    enough = 2 ** math.ceil(math.log2(max(1, tokens)))
    room = 2 ** math.floor(math.log2(TABLE_BYTES / (4 * width)))
    return TokenNgramRecipe(max(LEAST_TOKEN_BUCKETS, min(enough, room)), tokens=4, learning_rate=0.1)


def ngrams(rows: int, tokens: int, outputs: int, tokenizer: str) -> NgramRecipe:
    """Return the recipe for `rows` training rows with `tokens` tokens in total and a network with `outputs` outputs."""
    characters = tokens * (CHARACTERS_PER_TOKEN if tokenizer == "bpe" else 1.0)
    boost = min(2.0, max(1.0, math.sqrt(FEW_ROWS / max(1, rows))))
    enough = 2 ** math.ceil(math.log2(max(1.0, boost**2 * NGRAMS_PER_CHARACTER * characters)))
    room = 2 ** math.floor(math.log2(TABLE_BYTES / (4 * (outputs + 1))))
    return NgramRecipe(
        buckets=max(LEAST_BUCKETS, min(enough, room, MOST_BUCKETS)),
        characters=5,
        words=2,
        epochs=boost * min(EPOCHS, max(1.0, ROW_PASSES / max(1, rows))),
        # AdaGrad divides by the norm of a row's gradient, which grows with the number of logistic losses.
        learning_rate=boost * (0.3 if outputs == 1 else 0.12 * math.sqrt(outputs)),
        batch_size=32 if rows < 8_000 else 64 if rows < 100_000 else 256,
    )
