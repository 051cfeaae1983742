"""Lists the training options that have an effect on a run, each with its value and the reason in one sentence.

The defaults themselves are chosen in `app/training/recipes.py` and in this package; this module only explains them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from app.training import recipes
from app.training.base import BaseCheckpoint
from app.training.plan import network
from app.training.plan.config import TUNED_RATE, Settled
from app.training.prepare.dataset import Dataset, Rows, token_count
from app.wire.estimate import TrainingChoice
from app.wire.trainer import TrainSpec
from app.wire.training_options import TrainingOptions
from app.wire.training_rules import FIXED_BY_BASE, TrainingKind, applicable
from app.wording import quantity
from models.choices import RECURRENT

OptionValue = bool | int | float | str | None
NONE = "none"  # the value of an option that is not in use
REQUESTED = "Set in the request."
INHERITED = "Comes from the version to fine-tune."


@dataclass(frozen=True, slots=True)
class Run:
    """A planned run: its request, its settings, its data and the version to fine-tune."""

    options: TrainingOptions
    settled: Settled
    dataset: Dataset
    base: BaseCheckpoint | None

    @property
    def kind(self) -> TrainingKind:
        """The kind of training."""
        facts, model = self.dataset.facts, self.settled.config
        return TrainingKind(model.architecture, facts.task, facts.input, tuned=self.base is not None)

    @property
    def generates(self) -> bool:
        return self.dataset.facts.task == "generation"

    @property
    def recurrent(self) -> bool:
        return self.settled.config.architecture in RECURRENT

    @property
    def linear(self) -> bool:
        return self.settled.config.architecture == "linear"

    @property
    def pretrained(self) -> bool:
        """Whether the recipe is that of a large Transformer that was trained on far more data."""
        return self.base is not None and not self.options.head_only and recipes.is_pretrained(self.base.config)

    @property
    def size(self) -> str:
        """The size of the training data in words."""
        train = self.dataset.train
        tokens = quantity(token_count(train), "step" if self.dataset.facts.input == "features" else "token")
        return f"{quantity(len(train), 'row')} with {tokens}" if isinstance(train, Rows) else tokens


def choices(spec: TrainSpec, settled: Settled, dataset: Dataset, base: BaseCheckpoint | None) -> list[TrainingChoice]:
    """Return the value of each option that has an effect on the run, with its reason, in the order of the options."""
    run = Run(spec.training, settled, dataset, base)
    requested = {name for name in TrainingOptions.__struct_fields__ if getattr(run.options, name) is not None}
    # An option applies if it would be accepted: an option that has no effect is rejected.
    applies = applicable(msgspec.structs.replace(TrainingOptions(), **dict.fromkeys(OPTIONS, 1)), run.kind)
    made = []
    for name, read in OPTIONS.items():
        if getattr(applies, name) is None:
            continue
        value, reason = read(run)
        if name in requested:
            reason = REQUESTED
        elif base is not None and name in FIXED_BY_BASE:
            reason = INHERITED
        if value is not None:
            made.append(TrainingChoice(name, value, reason, name in requested))
    return made


def _epochs(run: Run) -> tuple[OptionValue, str]:
    steps = run.settled.total_steps
    if steps is None:
        return None, ""
    train, per_step, window = run.dataset.train, run.settled.batch_size * run.settled.accumulation, run.settled.window
    per_epoch = -(-len(train) // per_step) if isinstance(train, Rows) else (len(train.ids_T) - 1) // window // per_step
    epochs = round(steps / max(1, per_epoch), 2)
    if run.pretrained:
        return epochs, "A version that was trained on far more data needs few passes."
    if run.linear:
        return epochs, "A linear model converges after a few passes."
    ends = "; the run usually ends earlier" if run.settled.patience else ""
    return epochs, f"Small data sets get more passes than large ones, and this one has {run.size}{ends}."


def _max_steps(run: Run) -> tuple[OptionValue, str]:
    return run.settled.total_steps, "The number of passes times the number of steps in a pass."


def _batch_size(run: Run) -> tuple[OptionValue, str]:
    if run.generates:
        reason = "Small batches of windows teach a language model more per token than large ones."
    elif run.dataset.facts.input == "features" or run.linear:
        reason = f"Large data sets get larger batches than small ones, and this one has {run.size}."
    else:
        reason = f"About {recipes.STEP_TOKENS:,} tokens per step: small batches teach more per token than large ones."
    return run.settled.batch_size, reason


def _learning_rate(run: Run) -> tuple[OptionValue, str]:
    if run.linear:
        return run.settled.branch_learning_rate, "The learning rate of the n-gram classifier for this number of labels."
    if run.options.learning_rate_multiplier is not None:
        reason = f"The automatic rate times {run.options.learning_rate_multiplier:g}."
    elif run.options.lora is not None:
        reason = "The matrices of an adapter are new, so they are trained with larger steps than the version's weights."
    elif run.pretrained:
        reason = "Small steps preserve what the version has learned; wider networks need smaller steps."
    elif run.base is not None and not run.options.head_only:
        reason = f"{TUNED_RATE:g} times the rate of a new network, because the version is already trained."
    else:
        reason = "The rate that worked best for this architecture and this size of data in experiments."
    return run.settled.learning_rate, reason


def _schedule(run: Run) -> tuple[OptionValue, str]:
    return run.settled.schedule, {
        "plateau": "The run has no fixed length, so the rate decays once the validation result no longer improves.",
        "cosine": "The length of the run is fixed, so the rate falls smoothly to almost zero at the end.",
        "linear": "The usual schedule for fine-tuning a large Transformer.",
    }.get(run.settled.schedule, "")


def _warmup_ratio(run: Run) -> tuple[OptionValue, str]:
    return round(run.settled.warmup_ratio, 4), "The first steps are small, because the first gradients are unreliable."


def _dropout(run: Run) -> tuple[OptionValue, str]:
    if run.base is not None:
        return run.settled.config.dropout, INHERITED
    much = not run.generates and run.dataset.facts.input == "tokens"
    return run.settled.config.dropout, (
        "A network quickly memorises labelled texts; dropout delays this."
        if much
        else "Little dropout: this kind of data is rarely memorised."
    )


def _label_smoothing(run: Run) -> tuple[OptionValue, str]:
    value = run.settled.label_smoothing
    return value, "Labels contain errors, so no label is treated as certain." if value else "The recipe uses none."


def _class_weights(run: Run) -> tuple[OptionValue, str]:
    weights = run.settled.class_weights
    shown = "set" if weights is not None and run.options.class_weights != "balanced" else "balanced"
    return (
        NONE if weights is None else shown,
        "All rows have the same weight, so probabilities match the frequencies of the labels.",
    )


def _optimizer(run: Run) -> tuple[OptionValue, str]:
    return run.settled.optimizer, (
        "Muon needs fewer steps here than AdamW."
        if run.settled.optimizer == "muon"
        else "AdamW works well here; the steps of Muon would take longer."
    )


def _layers(run: Run) -> tuple[OptionValue, str]:
    reason = "One layer is enough for a recurrent network of this size." if run.recurrent else "The recipe's depth."
    return run.settled.config.layers, reason


def _width(run: Run) -> tuple[OptionValue, str]:
    return run.settled.config.width, f"Chosen for the architecture and the size of the data: {run.size}."


def _heads(run: Run) -> tuple[OptionValue, str]:
    return run.settled.config.heads, "The recipe's number of heads; the width is a multiple of it."


def _context_length(run: Run) -> tuple[OptionValue, str]:
    context = run.settled.config.context_length
    if run.linear:
        return context, "A linear model reads long texts quickly, so hardly any text is cut."
    if not isinstance(run.dataset.train, Rows):
        return context, "The length of a window of the text; a network without a maximum length can read longer texts."
    longest = int(run.dataset.train.lengths_N.max())
    unit = "steps" if run.dataset.facts.input == "features" else "tokens"
    return context, (
        f"About twice the length of the training rows, but at least 128 and at most {network.LONGEST_CONTEXT:,}; "
        f"the longest row has {longest:,} {unit}."
    )


def _vocab_size(run: Run) -> tuple[OptionValue, str]:
    return run.dataset.facts.vocab_size or None, "The more text there is, the larger the vocabulary can be."


def _tokenizer(run: Run) -> tuple[OptionValue, str]:
    kind = run.dataset.facts.tokenizer
    reason = {
        "bpe": "Tokens are pieces of words, learned from the data.",
        "char": "The texts are in a script without spaces between words.",
    }.get(kind, "")
    return kind or None, reason


def _pooling(run: Run) -> tuple[OptionValue, str]:
    return run.settled.config.pooling, (
        "A single step can decide the answer, wherever it is in the sequence."
        if run.settled.config.pooling == "max"
        else "All steps count equally."
    )


def _bidirectional(run: Run) -> tuple[OptionValue, str]:
    on = run.settled.config.bidirectional
    return on, "The whole input is known, so it can be read in both directions." if on else "Inputs are read forwards."


def _ngrams(run: Run) -> tuple[OptionValue, str]:
    on = bool(run.settled.config.ngram_buckets)
    return on, "Words and parts of words often decide the answer, above all in small data sets." if on else "Off."


def _patience(run: Run) -> tuple[OptionValue, str]:
    value = run.settled.patience
    off = "The run ends after a fixed number of steps."
    return value or NONE, "A single worse evaluation may be due to chance and does not end the run." if value else off


def _eval_every(run: Run) -> tuple[OptionValue, str]:
    often = "Twice in each pass, to notice when the result no longer improves"
    once = "Once in each pass, or ten times in a run for generation"
    return run.settled.eval_every, f"{often if run.settled.schedule == 'plateau' else once}."


def _precision(run: Run) -> tuple[OptionValue, str]:
    return run.settled.precision, (
        "This device computes the large matrices of a language model faster in bfloat16."
        if run.settled.precision == "bfloat16"
        else "The type float32 is exact enough for every network, and the fastest for small ones."
    )


OPTIONS: Mapping[str, Callable[[Run], tuple[OptionValue, str]]] = {
    "epochs": _epochs,
    "max_steps": _max_steps,
    "max_seconds": lambda run: (run.settled.max_seconds, REQUESTED),
    "batch_size": _batch_size,
    "accumulation": lambda run: (run.settled.accumulation, "A whole batch fits into memory."),
    "learning_rate": _learning_rate,
    "schedule": _schedule,
    "warmup_ratio": _warmup_ratio,
    "weight_decay": lambda run: (run.settled.weight_decay, "Keeps the weights small; the recipe's value."),
    "max_grad_norm": lambda run: (run.settled.max_grad_norm, "Limits the effect of a single unusual batch."),
    "dropout": _dropout,
    "label_smoothing": _label_smoothing,
    "class_weights": _class_weights,
    "optimizer": _optimizer,
    "layers": _layers,
    "width": _width,
    "heads": _heads,
    "context_length": _context_length,
    "vocab_size": _vocab_size,
    "tokenizer": _tokenizer,
    "pooling": _pooling,
    "bidirectional": _bidirectional,
    "ngrams": _ngrams,
    "head_only": lambda run: (run.settled.head_only, "All parameters are trained."),
    "patience": _patience,
    "eval_every": _eval_every,
    "precision": _precision,
    "threads": lambda run: (run.settled.threads, "The setting of the service; by default, one thread per core."),
    "deterministic": lambda run: (run.settled.deterministic, "Equal requests produce equal weights."),
    "baseline": lambda run: (
        run.options.baseline is not False,
        "Shows whether the network is better than a simple model.",
    ),
}
