"""Estimates the memory of a training run before its first step, and rejects a run that needs too much memory.

Activations are estimated for the largest piece of a batch. The number of values that a step stores per token was
measured on a CPU (see `docs/log.md`). The tests compare the estimates with the peak memory of real steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.training.failures import TrainingFailure
from app.training.plan.config import MICRO_TOKENS, Settled
from app.training.prepare.dataset import Dataset, Rows, Stream
from app.wire.training_memory import INSUFFICIENT, NUMBER, gigabytes, weight_memory
from models.adapters import adapter_shapes
from models.config import ModelConfig
from models.parameters import body_width, is_body_matrix, shapes

LIBRARIES = 350_000_000  # bytes that Python, torch and other libraries use before a network is created
_CELL = {"rnn": 4.2, "gru": 12.5, "lstm": 12.9}  # numbers that a recurrent layer keeps for each step and unit of width
_RECURRENT_COPIES = 2.5  # numbers that a step needs for each weight of a recurrent body: packed copies and gradients
_LSTM_WORK = 12.0  # numbers that the backward pass of one LSTM layer needs for each step and unit of width
_LOGITS = 4.7  # numbers per token of the vocabulary: logits, log-probabilities, and the gradients of both
_EVALUATED_LOGITS = 2.5  # like _LOGITS, but for an evaluation, which does not compute gradients
_NGRAMS = 20  # the distinct n-grams of characters and words that a token adds to a text, on average
_NGRAM_NUMBERS = 12.0  # numbers that are stored to count an n-gram
_NGRAM_TABLES = 60_000_000  # bytes needed to count n-grams, even if the text is short
_EVALUATED_WIDTHS = 12.0  # numbers that evaluations need for each step and unit of width, without gradients
_ORTHOGONALISATION = 6.0  # the number of copies of the body's largest matrix that Muon needs
_OUTPUT_BYTES = 40  # bytes kept for each output of each held-out row until metrics are computed


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The peak memory of a trainer, in bytes, and its parts.

    `optimizer` covers gradients, moments and averages. `activations` covers all temporary values of a training step or,
    if they need more memory, of an evaluation.
    """

    weights: int
    optimizer: int
    activations: int
    libraries: int = LIBRARIES

    @property
    def total(self) -> int:
        return self.weights + self.optimizer + self.activations + self.libraries


def estimate_memory(settled: Settled, dataset: Dataset) -> MemoryEstimate:
    """Estimate the memory that is needed to train a network with these settings on this data."""
    config, averaged = settled.config, settled.averaging > 0
    head_only, adapter = settled.head_only or settled.lora is not None, _adapter_size(settled)
    kept = weight_memory(
        config, settled.optimizer, averaged=averaged, head_only=head_only, freeze_embedding=settled.freeze_embedding,
        adapter=adapter,
    )  # fmt: skip
    trained = _piece_tokens(settled, dataset.train) * _numbers_per_token(config)
    held_out = [part for name, part in dataset.parts.items() if name != "train"]
    evaluated = max(_evaluated_tokens(config, part) for part in held_out) * _evaluated_numbers(config)
    rows = max(len(part) if isinstance(part, Rows) else 0 for part in held_out)
    work = max(trained + _optimizer_work(settled), evaluated)
    counting = _NGRAM_TABLES if config.ngram_buckets and config.task != "generation" else 0
    outputs = rows * max(1, config.classes) * _OUTPUT_BYTES
    return MemoryEstimate(kept.weights, kept.optimizer, round(work * NUMBER) + counting + outputs)


def _adapter_size(settled: Settled) -> int:
    lora = settled.lora
    if lora is None:
        return 0
    return sum(math.prod(shape) for _, shape in adapter_shapes(settled.config, lora["target_modules"], lora["r"]))


def check_memory(settled: Settled, memory: MemoryEstimate, limit: int) -> None:
    """Raise TrainingFailure `insufficient_memory` if a run needs more than `limit` bytes."""
    if memory.total <= limit:
        return
    config = settled.config
    of_weights = memory.weights + memory.optimizer
    if memory.activations > of_weights:
        remedy, param = f"a smaller batch_size (it is {settled.batch_size}) or context_length", "training.batch_size"
    elif config.architecture == "linear":
        remedy, param = "fewer labels", "training_file"
    else:
        remedy = f"fewer layers (there are {config.layers}) or a smaller width (it is {config.width})"
        param = "training.width"
    raise TrainingFailure(
        INSUFFICIENT,
        f"the training run needs about {gigabytes(memory.total)} ({gigabytes(of_weights)} for the weights and their "
        f"optimizer, {gigabytes(memory.activations)} for activations), but it may use only {gigabytes(limit)} "
        f"(OSTINATO_TRAINING_MEMORY); use {remedy}",
        param,
    )


def _piece_tokens(settled: Settled, train: Rows | Stream) -> float:
    """Return the number of tokens or steps, including padding, in the largest piece of a batch."""
    if isinstance(train, Stream):
        window = min(settled.window, len(train.ids_T) - 1)
        return float(min(settled.batch_size, max(1, settled.micro_tokens // window)) * window)
    lengths_N = train.lengths_N.clip(max=settled.row_limit or settled.config.context_length)
    longest = float(lengths_N.max())
    batch = settled.batch_size * longest
    if settled.balanced:  # a batch of long rows has fewer rows than the average
        batch = min(batch, 2.0 * settled.batch_size * float(lengths_N.mean()) + longest)
    return min(batch, max(settled.micro_tokens, longest))


def _evaluated_tokens(config: ModelConfig, part: Rows | Stream) -> float:
    """Return the number of tokens or steps, including padding, in the largest batch of an evaluation."""
    if isinstance(part, Stream):
        return float(min(MICRO_TOKENS, len(part.ids_T)))
    longest = min(int(part.lengths_N.max()), config.context_length)
    return float(min(max(MICRO_TOKENS, longest), 256 * longest, len(part) * longest))


def _numbers_per_token(config: ModelConfig) -> float:
    """Return the number of values that a training step stores for each token of a piece."""
    if config.architecture == "linear":
        return _branch(config)
    body = _recurrent(config) if config.recurrent else _transformer(config)
    head = _LOGITS * config.vocab_size if config.task == "generation" else 0.0
    return body + head + _branch(config)


def _recurrent(config: ModelConfig) -> float:
    directions, width = 2 if config.bidirectional else 1, body_width(config)
    numbers = _CELL[config.architecture] * config.layers * width + 2.0 * config.vector_width + 3.0 * width
    # The rows are reversed for the second direction, and the outputs of both directions are concatenated.
    if config.bidirectional:
        read = config.vector_width + (config.layers - 1) * width
        numbers += 2.0 * (read + 1.5 * config.layers * width)
    if config.architecture == "lstm":
        numbers += _LSTM_WORK * config.width * directions
    if config.dropout:
        numbers += 1.25 * (config.vector_width + config.layers * width)
    return numbers


def _transformer(config: ModelConfig) -> float:
    width, inner = config.width, config.inner_width
    attention = width * (1.0 + 2.0 * config.groups / config.heads)
    block = 14.5 * width + attention + (4.0 if config.gated else 2.5) * inner
    if config.dropout:
        block += 2.5 * width
    # The backward pass handles one block at a time. For this block, it needs about half as much memory again as the
    # block keeps.
    return config.layers * block + 6.0 * inner + 6.0 * width


def _branch(config: ModelConfig) -> float:
    if not config.ngram_buckets:
        return 0.0
    if config.task == "generation":
        return 2.0 * (config.ngram_tokens - 1) * config.width
    return _NGRAMS * (_NGRAM_NUMBERS + 2.0 * config.classes)


def _evaluated_numbers(config: ModelConfig) -> float:
    """Return the number of values that an evaluation stores for each token of a batch."""
    if config.architecture == "linear":
        return _NGRAMS * _NGRAM_NUMBERS
    wide = body_width(config) if config.recurrent else config.width + config.inner_width
    head = _EVALUATED_LOGITS * config.vocab_size if config.task == "generation" else 0.0
    branch = _NGRAMS * _NGRAM_NUMBERS if config.ngram_buckets and config.task != "generation" else 0.0
    return _EVALUATED_WIDTHS * max(wide, config.vector_width) + head + branch


def _optimizer_work(settled: Settled) -> float:
    """Return how many numbers a step stores besides the activations: copies of the weights and their gradients."""
    sizes = [math.prod(shape) for name, shape in shapes(settled.config).items() if is_body_matrix(name, len(shape))]
    work = _ORTHOGONALISATION * max(sizes, default=0) if settled.optimizer == "muon" else 0.0
    return work + (_RECURRENT_COPIES * sum(sizes) if settled.config.recurrent else 0.0)
