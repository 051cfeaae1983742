"""Default hyperparameters that work well without tuning, for each architecture, task and amount of data.

`docs/log.md` records the experiments behind these defaults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from app.training.ngram_recipe import NgramRecipe, ngrams
from app.wire.training_options import TrainingOptions
from models.choices import RECURRENT
from models.config import ModelConfig
from models.parameters import is_body_matrix, shapes

STEP_TOKENS = 2_048  # the average number of tokens in a batch of texts
PRETRAINED = 2_000_000  # a Transformer whose blocks have at least this many weights is fine-tuned with small steps
PRETRAINED_RATE = 0.0384  # the learning rate of such a network, times its width: 1e-4 for a width of 384
# fine-tuning such a network reads at most this many tokens, but always the whole training data at least once
PRETRAINED_TOKENS = 20_000_000
LOW_RANK_RATE = 10.0  # the learning rate of an adapter, relative to that of training all weights
LEAST_STEPS = 160  # the minimum number of steps for data with one target per row; an RNN learns little in 60 steps


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
    optimizer: str = "adamw"
    schedule: str = "cosine"  # the schedule of runs with a fixed length
    cooldown: float = 0.3  # with `plateau`: the number of decay steps, relative to the number of steps before the decay
    patience: int = 2  # evaluations without improvement before a plateau is detected; 0: none is ever detected
    warmup_ratio: float = 0.02  # the share of warm-up in runs that are limited only by time
    warmup_steps: int = 100  # the warm-up steps of all other runs, but at most a tenth of their steps
    label_smoothing: float = 0.0
    token_dropout: float = 0.0
    averaging: float = 0.0  # the decay per step of the moving average of the weights; 0 disables averaging
    bidirectional: bool = False
    pooling: str = "mean"
    head_rate: float = 1.0  # the learning rate of the head, relative to that of the rest of the network
    freezes_embedding: bool = False
    window: int = 128  # the number of consecutive tokens of a text in each training window


UNSPACED = 0.3  # if at least this share of the characters is in scripts without spaces, tokens are characters


def tokenizer(task: str, characters: int, unspaced: int, options: TrainingOptions) -> tuple[str, int]:
    """Return the kind and vocabulary size for a new tokenizer. The longer the text, the larger the vocabulary.

    `characters` is the number of characters in the text; `unspaced` is the number of characters in scripts without
    spaces between words. In these scripts, byte-pair encoding would treat a whole clause as a word, and learn clauses
    that occur in no other text.
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
    """Return the recipe for data with one target per row: `count` training rows with a total of `tokens` tokens or
    steps.
    """
    if architecture == "linear":
        return _linear(ngrams(count, tokens, 1, "bpe"))
    _check_architecture(architecture)
    return _numbers(architecture, count, tokens) if features else _texts(architecture, task, count, tokens)


def _check_architecture(architecture: str) -> None:
    """Raise NotImplementedError for an architecture that is neither recurrent nor a Transformer."""
    if architecture not in (*RECURRENT, "transformer"):
        raise NotImplementedError(
            f"the architecture {architecture!r} has no recipe; define its defaults in app/training/recipes.py, "
            "for texts, numeric sequences and generation"
        )


def _numbers(architecture: str, count: int, tokens: int) -> Recipe:
    """Return the recipe for numeric sequences."""
    batch_size = 32 if count < 8_000 else 64 if count < 100_000 else 128
    by_count = max(min(40.0, 100_000 / max(1, count)), LEAST_STEPS / max(1, math.ceil(count / batch_size)))
    recipe = Recipe(
        layers=2 if architecture == "transformer" else 1,
        width=128,
        input_width=0 if architecture == "transformer" else 128,
        heads=4,
        dropout=0.1,
        learning_rate={"rnn": 2e-3, "transformer": 2e-3}.get(architecture, 4e-3),
        batch_size=batch_size,
        epochs=round(max(2.0, min(by_count, 6_000_000 / max(1, tokens)))),
        averaging=0.99,
        pooling="max",
    )
    return recipe if architecture == "transformer" else replace(recipe, bidirectional=True)


def _texts(architecture: str, task: str, count: int, tokens: int) -> Recipe:
    """Return the recipe for texts that each have a target. Most runs stop at a plateau, long before the last epoch."""
    small = count < 8_000
    # Small batches teach more per token than large ones, at the same cost per token. Batches may be larger if there are
    # 100,000 rows or more, because there are many steps in any case.
    most = 32 if count < 100_000 else 128
    batch_size = min(most, max(16, round(STEP_TOKENS * count / max(1, tokens))))
    # With a few dozen rows, an epoch has only one or two steps, so a minimum number of steps applies.
    by_count = max(min(30.0, max(5.0, 40_000 / max(1, count))), LEAST_STEPS / max(1, math.ceil(count / batch_size)))
    recipe = Recipe(
        layers=2,
        width=96 if small else 128,
        input_width=0,
        heads=4,
        dropout=0.3,
        learning_rate=2e-3 if small else 1e-3,
        batch_size=batch_size,
        epochs=round(max(2.0, min(by_count, 6_000_000 / max(1, tokens)))),
        averaging=0.99,
        label_smoothing=0.05 if task in ("classification", "multilabel") else 0.0,
        token_dropout=0.1 if small else 0.2,
    )
    if architecture == "transformer":
        return recipe  # Muon would make its steps 50 % slower
    rate = 3e-3 if architecture == "rnn" else 6e-3
    recipe = replace(recipe, layers=1, width=64, input_width=128, learning_rate=rate, optimizer="muon")
    return replace(recipe, pooling="max", bidirectional=True)


def is_pretrained(base: ModelConfig) -> bool:
    """Whether a version to fine-tune is a large Transformer, such as an imported one.

    Such a version was probably pretrained on far more data than it is fine-tuned on, so fine-tuning takes small steps.
    Fine-tuning of small networks takes larger steps.
    """
    sizes = shapes(base)
    blocks = sum(math.prod(shape) for name, shape in sizes.items() if is_body_matrix(name, len(shape)))
    return base.architecture == "transformer" and blocks >= PRETRAINED


def pretrained(recipe: Recipe, base: ModelConfig, count: int, tokens: int) -> Recipe:
    """Derive the recipe for fine-tuning a large Transformer from the recipe for a new network on the same data.

    `count` is the number of training rows, or 0 for one long text, and `tokens` is the number of their tokens or steps.
    Runs have a fixed length, because a plateau would be detected only after several epochs.
    """
    return replace(
        recipe,
        learning_rate=PRETRAINED_RATE / base.width,
        epochs=max(1.0, min(_passes(count, recipe.batch_size), PRETRAINED_TOKENS / max(1, tokens))),
        optimizer="adamw",
        schedule="linear",
        patience=0,
        warmup_steps=1000,
        weight_decay=0.01,
        label_smoothing=0.0,
        token_dropout=0.0,
        averaging=0.0,
        head_rate=10.0,
        freezes_embedding=True,
    )


def low_rank(recipe: Recipe) -> Recipe:
    """Derive the recipe for the adapter of a large Transformer from the recipe for training all of its weights.

    The matrices of an adapter need about ten times the learning rate of the weights that they change (Schulman et al.,
    "LoRA Without Regret", 2025). The head keeps its rate.
    """
    rate, head_rate = recipe.learning_rate * LOW_RANK_RATE, recipe.head_rate / LOW_RANK_RATE
    return replace(recipe, learning_rate=rate, head_rate=head_rate)


def _passes(count: int, batch_size: int) -> float:
    """Return the number of epochs for fine-tuning, which is larger for few rows (Mosbach et al., 2021, section 6)."""
    least = LEAST_STEPS / max(1, math.ceil(count / batch_size))
    return float(round(max(least, min(20.0, max(3.0, 12_000 / count))))) if count else 2.0


def _linear(branch: NgramRecipe) -> Recipe:
    """Return the recipe for the architecture `linear`, which consists only of the branch."""
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
    """Return the recipe for generation, given a training text of `tokens` tokens."""
    _check_architecture(architecture)
    small = tokens < 1_000_000
    recipe = Recipe(
        layers=4,
        width=128 if small else 160,
        input_width=0,
        heads=4,
        dropout=0.1 if small else 0.05,
        learning_rate=3e-3,
        batch_size=4,
        optimizer="muon",
        epochs=min(20.0, max(1.0, 8_000_000 / max(1, tokens))),
        window=256,
    )
    if architecture == "transformer":
        return recipe
    rate = 1e-3 if architecture == "rnn" else 3e-3
    recipe = replace(recipe, layers=1, width=256 if small else 384, dropout=0.1, learning_rate=rate)
    return replace(recipe, optimizer="adamw", window=128)
