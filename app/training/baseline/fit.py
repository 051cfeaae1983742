"""Fits the baseline of a training run and measures it on the held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.tokenization.tokenizer import Tokenizer
from app.training.baseline import linear, pooled
from app.training.baseline.language import LONGEST, NgramModel
from app.training.baseline.linear import Linear
from app.training.baseline.ngrams import TextFeatures
from app.training.baseline.result import Fitted, Predictions
from app.training.baseline.symbols import Symbols, SymbolText
from app.training.baseline.texts import Texts
from app.training.baseline.work import HELD_OUT_CHARACTERS, BaselineLimits
from app.training.prepare.dataset import Dataset, Rows, Stream, token_count


def fit(dataset: Dataset, limits: BaselineLimits, context_length: int) -> Fitted:
    """Fit a baseline and measure it: an n-gram model for generation, otherwise a linear model.

    `context_length` is the maximum number of tokens that the network reads; longer completions are cut.
    """
    if dataset.facts.task == "generation":
        return _language(dataset, limits, context_length)
    return _linear(dataset, limits)


def _linear(dataset: Dataset, limits: BaselineLimits) -> Fitted:
    facts, train = dataset.facts, dataset.train
    assert isinstance(train, Rows)
    labels = len(facts.labels)
    texts = None if dataset.tokenizer is None else Texts(Tokenizer.load(dataset.tokenizer))
    features = TextFeatures(limits.columns(labels))
    model = Linear(facts.task, is_text=texts is not None)
    chosen_N = limits.train_rows(_sizes(texts, train), labels)
    inputs = pooled.pooled(train, chosen_N) if texts is None else features.fit(texts.of_rows(train, chosen_N))
    model.fit(inputs, train.targets_N[chosen_N])
    splits, predictions = {}, {}
    for name, part in dataset.parts.items():
        if name != "train" and isinstance(part, Rows):
            rows_N = limits.held_out_rows(_sizes(texts, part))
            held_out = pooled.pooled(part, rows_N) if texts is None else features.transform(texts.of_rows(part, rows_N))
            predictions[name] = Predictions(rows_N, model.predict(held_out))
            scale = facts.target or {"std": 1.0}
            measured = linear.figures(facts.task, part.targets_N[rows_N], predictions[name].predicted_N, scale)
            splits[name] = measured | {"of": len(part)}
    report = {"model": "linear", "description": model.description, "train": _counts(len(chosen_N), len(train))}
    return Fitted(report | {"splits": splits}, predictions)


def _sizes(texts: Texts | None, rows: Rows) -> NDArray[np.int64]:
    if texts is None:
        return np.full(len(rows), pooled.columns(rows.flat.shape[1]))
    return texts.sizes(rows)


def _language(dataset: Dataset, limits: BaselineLimits, context_length: int) -> Fitted:
    assert dataset.tokenizer is not None
    symbols = Symbols(Tokenizer.load(dataset.tokenizer))

    def read(part: Rows | Stream, most: int | None) -> SymbolText:
        if isinstance(part, Stream):
            return symbols.of_stream(part, most)
        return symbols.of_completions(part, context_length, most)

    most = tokens = limits.characters(LONGEST)
    text = read(dataset.train, tokens).symbols_T
    # A token may be only a part of a character, so `tokens` tokens may contain fewer than `most` characters.
    while len(text) < most and tokens < token_count(dataset.train):
        tokens *= 2
        text = read(dataset.train, tokens).symbols_T
    model = NgramModel(text[-most:])
    splits = {}
    for name, part in dataset.parts.items():
        if name != "train":
            splits[name] = _measured(model, read(part, None))
    return Fitted({
        "model": "ngram",
        "description": f"{model.order}-grams of characters, interpolated Kneser–Ney",
        "train": {"characters": min(len(text), most), "of": dataset.train.characters},
        "splits": splits,
    })  # fmt: skip


def _measured(model: NgramModel, text: SymbolText) -> dict[str, Any]:
    """Return the bits per character of a held-out text.

    The bits of end tokens are included, but end tokens are not counted as characters.
    """
    symbols_T, measured_T = text.symbols_T[:HELD_OUT_CHARACTERS], text.measured_T[:HELD_OUT_CHARACTERS]
    characters = int((measured_T & (symbols_T >= 0)).sum())
    bits = float(model.bits(symbols_T, 0)[measured_T].sum())
    whole = int((text.measured_T & (text.symbols_T >= 0)).sum())
    return {"bits_per_character": bits / max(1, characters), "characters": characters, "of": whole}


def _counts(used: int, total: int) -> dict[str, int]:
    return {"rows": used, "of": total}
