"""The six training jobs of `ostinato up --demo`. The jobs are small enough for a machine with two cores."""

from __future__ import annotations

from typing import Any

SENTIMENT = "sentiment.csv"
PLAYS = "plays.txt"

CLASSIFIER: dict[str, Any] = {"vocab_size": 4096, "layers": 1}
WRITER: dict[str, Any] = {"batch_size": 16}  # with so little text, many small steps work best

TRAININGS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (  # name, architecture, file, training options
    ("demo-sentiment-rnn", "rnn", SENTIMENT, {**CLASSIFIER, "width": 128, "epochs": 4, "learning_rate": 2e-3}),
    ("demo-sentiment-lstm", "lstm", SENTIMENT, {**CLASSIFIER, "width": 64, "epochs": 5}),
    ("demo-sentiment-transformer", "transformer", SENTIMENT, {**CLASSIFIER, "layers": 2, "width": 64, "epochs": 3}),
    ("demo-text-rnn", "rnn", PLAYS, {**WRITER, "max_steps": 250, "learning_rate": 2e-3}),
    ("demo-text-lstm", "lstm", PLAYS, {**WRITER, "max_steps": 220}),
    (
        "demo-text-transformer",
        "transformer",
        PLAYS,
        {**WRITER, "layers": 2, "context_length": 128, "max_steps": 420},
    ),
)
