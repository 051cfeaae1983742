"""The complete configuration of a training run. The configuration is determined before step 0 and stored in
`settled.json`.

The configuration depends on the request, the data and the machine, but never on a measured time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.training import recipes
from app.training.base import BaseCheckpoint
from app.training.failures import BadOption
from app.training.ngram_recipe import Branch, token_ngrams
from app.training.plan import duration, network
from app.training.prepare.dataset import Dataset, Facts, Rows, Stream, token_count
from app.wire.measurement import SELECTING_ROWS
from app.wire.ranges import OptionError
from app.wire.trainer import TrainSpec
from app.wire.training_options import LoraOptions, TrainingOptions
from app.wire.training_rules import TrainingKind, check_base, linear_complaint
from app.wire.training_rules import check as check_options
from models.choices import ADAPTABLE
from models.config import ModelConfig

MICRO_TOKENS = 16_384  # the maximum number of tokens or steps in a piece of a batch, including padding
_LONG = 3.0  # rows of more than this many times the median length are cut
_LEAST_LIMIT = 128  # in tokens or steps; rows up to this length are never cut
_EVAL_TOKENS, _EVAL_ROWS = 24_000, 20_000  # the part of a large validation set that all evaluations but the last use
TUNED_RATE = 0.3  # the learning rate for fine-tuning a small network, relative to that of a new one


@dataclass(frozen=True, slots=True)
class Settled:
    """The configuration of the network and of its training. A step uses `batch_size * accumulation` rows or windows.

    If `total_steps` is None, the run ends after `max_seconds` or by early stopping. If `eval_every` is None, elapsed
    time determines when to evaluate. If `patience` is 0, there is no early stopping. `metric` is the rule for choosing
    the weights to keep (see `loop/selection.py`). `digests` identify the data, tokenizer and request; a resume point
    with other digests is rejected.

    Fields with defaults were added after the first release. For the schedule `plateau`, `cooldown` is the number of
    steps over which the learning rate decays, relative to the number of steps before the decay. Training rows are cut
    after `row_limit` steps, or after the context length if `row_limit` is 0. If `balanced` is true, batches have
    `batch_size` rows on average, and fewer if rows are long. `head_rate` is the learning rate of the head, relative to
    that of the rest of the network. `freeze_embedding` applies to the token vectors. `lora` contains all fields of
    `LoraOptions` with their values, or is None if no adapter is trained.
    """

    model: dict[str, Any]
    seed: int
    batch_size: int
    accumulation: int
    micro_tokens: int
    total_steps: int | None
    max_seconds: float | None
    eval_every: int | None
    patience: int
    eval_rows: int | None
    metric: str
    optimizer: str
    learning_rate: float
    schedule: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    label_smoothing: float
    token_dropout: float
    averaging: float
    class_weights: list[float] | None
    window: int
    head_only: bool
    precision: str
    threads: int
    deterministic: bool
    device: str
    truncated: int = 0
    cooldown: float = 0.0
    row_limit: int = 0
    balanced: bool = False
    branch_steps: int = 0
    branch_learning_rate: float = 0.0
    head_rate: float = 1.0
    freeze_embedding: bool = False
    lora: dict[str, Any] | None = None
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> ModelConfig:
        """The configuration of the network."""
        return ModelConfig.from_dict(self.model)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def settle(spec: TrainSpec, dataset: Dataset, base: BaseCheckpoint | None, device: str, threads: int) -> Settled:
    """Return the configuration of a run. Raises BadOption, or TrainingFailure for a base version that does not fit."""
    options, facts, train = spec.training, dataset.facts, dataset.train
    check(spec, base, facts)
    recipe = _recipe(spec, facts, train, base)
    model = network.model(spec, facts, recipe, train, base)
    window = min(options.context_length or recipe.window, model.context_length) if facts.shape == "stream" else 0
    batch_size = _batch_size(options, recipe, train, window)
    branch, rate = _branch(model, facts, train), _rate(options, recipe, base)
    total_steps, per_epoch = duration.steps(options, recipe, train, batch_size, window)
    metric = _metric(options, model, dataset.validation)
    schedule = duration.schedule(options, recipe, facts, metric)
    return Settled(
        model=model.to_dict(),
        seed=spec.seed,
        batch_size=batch_size,
        accumulation=options.accumulation or 1,
        micro_tokens=MICRO_TOKENS,
        total_steps=total_steps,
        max_seconds=options.max_seconds,
        eval_every=options.eval_every or duration.eval_every(total_steps, per_epoch, facts, schedule),
        patience=0 if metric == "last" else duration.patience(options, facts, recipe),
        eval_rows=_eval_size(dataset),
        metric=metric,
        optimizer=options.optimizer or recipe.optimizer,
        learning_rate=rate,
        schedule=schedule,
        warmup_ratio=_default(options.warmup_ratio, duration.warmup_ratio(recipe, total_steps)),
        weight_decay=_default(options.weight_decay, recipe.weight_decay),
        max_grad_norm=_default(options.max_grad_norm, 1.0),
        label_smoothing=_default(options.label_smoothing, recipe.label_smoothing),
        token_dropout=recipe.token_dropout,
        averaging=recipe.averaging,
        class_weights=_class_weights(options, facts),
        window=window,
        head_only=bool(options.head_only),
        precision=options.precision or _precision(facts, device),
        threads=options.threads or threads,
        deterministic=options.deterministic is not False,
        device=device,
        truncated=_truncated(train, model.context_length + (facts.shape == "completions")),
        cooldown=recipe.cooldown,
        row_limit=_row_limit(options, model, facts, train),
        balanced=options.batch_size is None and isinstance(train, Rows),
        branch_steps=duration.branch_steps(model, branch, total_steps, per_epoch),
        branch_learning_rate=_branch_rate(branch, recipe, rate),
        head_rate=recipe.head_rate,
        lora=_lora(options.lora),
        freeze_embedding=recipe.freezes_embedding and model.input == "tokens" and model.task != "generation",
    )


def check(spec: TrainSpec, base: BaseCheckpoint | None, facts: Facts | None = None) -> None:
    """Raise BadOption for a setting that is invalid or has no effect.

    Before the data is read, `facts` is None, and not all such settings can be detected.
    """
    architecture = spec.model if base is None else base.config.architecture
    if architecture == "linear" and facts is not None:
        _check_linear(facts)
    task, kind = (spec.task, None) if facts is None else (facts.task, facts.input)
    try:
        check_options(spec.training, TrainingKind(architecture, task, kind, tuned=base is not None))
        if base is not None:
            check_base(spec.training, base.config.to_dict() | {"adapter": base.adapter})
    except OptionError as error:
        raise BadOption(f"training.{error.field}", error.message) from None


def _check_linear(facts: Facts) -> None:
    if complaint := linear_complaint(facts.task, numbers=facts.input != "tokens"):
        raise BadOption("model", complaint)


def _eval_size(dataset: Dataset) -> int | None:
    """Return the number of rows or tokens to evaluate on during training, or None for all of them."""
    held_out = dataset.validation
    size, most = (len(held_out), _EVAL_ROWS) if isinstance(held_out, Rows) else (len(held_out.ids_T), _EVAL_TOKENS)
    return most if size > 1.5 * most else None


def _metric(options: TrainingOptions, model: ModelConfig, held_out: Rows | Stream) -> str:
    """Return the rule for choosing the weights to keep.

    If there are too few held-out rows to compare evaluations, the last weights are kept. There are two exceptions. If
    the request sets `patience`, early stopping always compares evaluations. For generation, a few rows suffice, because
    they contain many tokens. The last weights of a linear model are also kept, because a linear model converges and
    rarely overfits.
    """
    comparable = not isinstance(held_out, Rows) or model.task == "generation" or len(held_out) >= SELECTING_ROWS
    if (not comparable or model.architecture == "linear") and not options.patience:
        return "last"
    return "macro_f1" if model.task in ("classification", "multilabel") else "loss"


def _precision(facts: Facts, device: str) -> str:
    """Return bfloat16 for generation, which has large matrix products, if the device supports it well; else float32."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if device == "cpu" and cpu.exists() else ""
    fast = device == "cuda" or "avx512_bf16" in flags or "amx_bf16" in flags
    return "bfloat16" if fast and facts.task == "generation" else "float32"


def _default(option: float | None, default: float) -> float:
    return default if option is None else option


def _recipe(spec: TrainSpec, facts: Facts, train: Rows | Stream, base: BaseCheckpoint | None) -> recipes.Recipe:
    architecture = spec.model if base is None else base.config.architecture
    rows, tokens = len(train) if isinstance(train, Rows) else 0, token_count(train)
    if facts.task == "generation":
        recipe = recipes.generation(architecture, tokens)
    else:
        recipe = recipes.rows(architecture, facts.task, rows, tokens, facts.input == "features")
    if base is None or spec.training.head_only or not recipes.is_pretrained(base.config):
        return recipe
    recipe = recipes.pretrained(recipe, base.config, rows, tokens)
    return recipe if spec.training.lora is None else recipes.low_rank(recipe)


def _lora(options: LoraOptions | None) -> dict[str, Any] | None:
    """Return all fields of the option, with the defaults of PEFT where possible, or None if the option is not set."""
    if options is None:
        return None
    alpha = 2.0 * options.r if options.alpha is None else options.alpha
    targets = list(options.target_modules or ADAPTABLE)
    return {"r": options.r, "alpha": float(alpha), "dropout": options.dropout, "target_modules": targets}


def _batch_size(options: TrainingOptions, recipe: recipes.Recipe, train: Any, window: int) -> int:
    most = len(train) if isinstance(train, Rows) else max(1, (len(train.ids_T) - 1) // window)
    return min(options.batch_size or recipe.batch_size, most)


def _rate(options: TrainingOptions, recipe: recipes.Recipe, base: BaseCheckpoint | None) -> float:
    """Return the peak learning rate of all parameters outside the n-gram branch."""
    new = options.head_only or options.lora is not None  # only new matrices are trained, and they need larger steps
    tuning = base is not None and not new and not recipes.is_pretrained(base.config)
    rate = options.learning_rate or recipe.learning_rate * (TUNED_RATE if tuning else 1.0)
    return rate * (options.learning_rate_multiplier or 1.0)


def _branch(model: ModelConfig, facts: Facts, train: Any) -> Branch | None:
    """Return the recipe for the n-gram branch, or None if the network has no such branch."""
    if not model.ngram_buckets:
        return None
    if model.task == "generation":
        return token_ngrams(network.train_tokens(train), model.width)
    return network.ngram_recipe(facts, train)


def _branch_rate(branch: Branch | None, recipe: recipes.Recipe, rate: float) -> float:
    # If the request sets a learning rate other than the recipe's, the branch's rate is scaled by the same factor.
    return branch.learning_rate * rate / recipe.learning_rate if branch else 0.0


def _row_limit(options: TrainingOptions, model: ModelConfig, facts: Facts, train: Any) -> int:
    """Return the number of steps after which training rows are cut. Cutting long rows leaves time for more rows.

    Returns 0 (no limit besides the context length) if the request sets a context length, for generation, and for linear
    models, which are fast even on long rows.
    """
    if facts.shape != "rows" or options.context_length or model.architecture == "linear":
        return 0
    return min(model.context_length, max(_LEAST_LIMIT, int(_LONG * np.median(train.lengths_N))))


def _class_weights(options: TrainingOptions, facts: Facts) -> list[float] | None:
    """Return the weight of each label, which is 1 by default.

    With "balanced", all labels have the same total weight.
    """
    weights = options.class_weights
    if weights is None:
        return None
    if isinstance(weights, dict):
        unknown = sorted(set(weights) - set(facts.labels))
        if unknown:
            labels = ", ".join(map(repr, facts.labels[:20]))
            raise BadOption("training.class_weights", f"no row has the label {unknown[0]!r}; the labels are {labels}")
        return [float(weights.get(label, 1.0)) for label in facts.labels]
    total, counts = sum(facts.label_counts), facts.label_counts
    return [total / (len(counts) * count) if count else 1.0 for count in counts]


def _truncated(train: Any, context: int) -> int:
    return int((train.lengths_N > context).sum()) if isinstance(train, Rows) else 0
