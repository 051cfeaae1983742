"""Default hyperparameters that work well without tuning, for each architecture, task and size of the data.

`docs/log.md` records the experiments behind these defaults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from app.training.ngram_recipe import NgramRecipe, ngrams
from app.wire.training_options import TrainingOptions
from models.config import RECURRENT

LEAST_STEPS = 160  # the minimum for data with one target per row; an RNN learns little in 60 steps


@dataclass(frozen=True, slots=True)
class Recipe:
    """The sizes of the network and the hyperparameters of its training.

    `width` is the width of each direction if the network is bidirectional.
    """

    layers: int
    width: int
    input_width: int
    heads: int
    dropout: float
    learning_rate: float
    batch_size: int
    epochs: float
    weight_decay: float = 0.05
    warmup_ratio: float = 0.1
    label_smoothing: float = 0.0
    token_dropout: float = 0.0
    averaging: float = 0.0  # the decay per step of the moving average of the weights; 0 disables averaging
    bidirectional: bool = False
    pooling: str = "mean"
    window: int = 128  # the number of consecutive tokens of a text in each training window


UNSPACED = 0.3  # with at least this share of characters in scripts without spaces, tokens are characters


def tokenizer(task: str, characters: int, unspaced: int, options: TrainingOptions) -> tuple[str, int]:
    """(kind, vocabulary size) of a new tokenizer. A longer text gets a larger vocabulary, so tokens remain frequent.

    `characters` is the number of characters in the text; `unspaced` is the number of those in scripts without spaces
    between words. In these scripts, byte-pair encoding would treat a whole clause as a word and learn clauses that do
    not occur in any other text.
    """
    kind = options.tokenizer or ("char" if unspaced >= UNSPACED * max(1, characters) else "bpe")
    if options.vocab_size is not None:
        return kind, options.vocab_size
    if kind == "char":
        return kind, 8192
    characters_a_token = 2500 if task == "generation" else 250
    power = round(math.log2(max(1, characters / characters_a_token)))
    least, most = (512, 4096) if task == "generation" else (1024, 8192)
    return kind, min(max(2**power, least), most)


def rows(architecture: str, task: str, count: int, tokens: int, features: bool) -> Recipe:
    """The recipe for data with one target per row: `count` train rows with a total of `tokens` tokens or steps."""
    if architecture == "linear":
        return _linear(ngrams(count, tokens, 1, "bpe"))
    small = count < 8_000
    # Numeric data needs more epochs; on a small set of texts, more epochs only lead to overfitting.
    by_count = min(40.0, 100_000 / max(1, count)) if features else min(30.0, max(5.0, 40_000 / max(1, count)))
    batch_size = 32 if small else 64 if count < 100_000 else 128
    # With a few dozen rows, an epoch has only one or two steps, so a minimum number of steps applies.
    by_count = max(by_count, LEAST_STEPS / max(1, math.ceil(count / batch_size)))
    epochs = min(by_count, 6_000_000 / max(1, tokens))
    dropout = 0.1 if features else 0.3 if architecture == "transformer" else 0.4
    recipe = Recipe(
        layers=2 if architecture == "transformer" else 1,
        width=128,
        input_width=0 if architecture == "transformer" else 128,
        heads=4,
        dropout=dropout,
        learning_rate={"rnn": 1e-3, "transformer": 1e-3}.get(architecture, 2e-3) * (2.0 if features or small else 1.0),
        batch_size=batch_size,
        epochs=round(max(2.0, epochs)),
        averaging=0.99,
        label_smoothing=0.05 if task in ("classification", "multilabel") and not features else 0.0,
        token_dropout=0.0 if features else 0.1 if small else 0.2,
    )
    if architecture == "transformer":
        return replace(recipe, pooling="max" if features else "mean")
    return replace(recipe, pooling="max", bidirectional=True)


def _linear(branch: NgramRecipe) -> Recipe:
    """The recipe of the architecture `linear`, which has no network beside the branch."""
    return Recipe(
        layers=1,
        width=1,
        input_width=0,
        heads=1,
        dropout=0.0,
        learning_rate=branch.learning_rate,
        batch_size=branch.batch_size,
        epochs=branch.epochs,
        weight_decay=0.0,
        warmup_ratio=0.0,
    )


def generation(architecture: str, tokens: int) -> Recipe:
    """The recipe for generation from a train text of `tokens` tokens."""
    small = tokens < 1_000_000
    recipe = Recipe(
        layers=4,
        width=128 if small else 160,
        input_width=0,
        heads=4,
        dropout=0.1 if small else 0.05,
        learning_rate=3e-3,
        batch_size=8,
        epochs=min(20.0, max(1.0, 8_000_000 / max(1, tokens))),
        window=256,
    )
    if architecture == "transformer":
        return recipe
    assert architecture in RECURRENT
    rate = 1e-3 if architecture == "rnn" else 4e-3
    width = 256 if small else 384
    return replace(recipe, layers=1, width=width, dropout=0.1, learning_rate=rate, batch_size=32, window=128)
