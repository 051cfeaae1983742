"""Compares the defaults with a strong linear baseline, on eight different data sets (benchmarks/accept/sets.py).

`auto` is trained on every set through the API. Its trials include a GRU and, except on the smallest sets, a
Transformer. The checkpoints of these trials are also measured on the test rows, and an LSTM is trained separately. The
baseline is fitted to the same training rows. To use one seed instead of three, set ACCEPT_SEEDS to `1`. To use fewer
data sets, set ACCEPT_SETS to their names, separated by commas.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

from benchmarks.accept.record import Record
from benchmarks.accept.sets import Example, LabelledSet, build
from benchmarks.service import Service, checked, running

SEEDS = [int(seed) for seed in os.environ.get("ACCEPT_SEEDS", "1,2,3").split(",")]
CHOSEN = [name for name in os.environ.get("ACCEPT_SETS", "").split(",") if name]
AUTO_SHORTFALL, AUTO_GAIN = 0.005, 0.01
NETWORK_SHORTFALL, FEWEST_SETS = 0.01, 7
MOST_LABELS = 20
PATIENCE = 7200.0  # seconds for one job


def check(record: Record, data: Path | None, folder: Path) -> None:
    makers = build(data)
    gains: dict[str, list[float]] = defaultdict(list)  # model -> its mean gain over the baseline on each set
    with running(folder / "data") as service:
        for name in CHOSEN or makers:
            labelled = makers[name]()
            base = baseline(labelled)
            scores = _scores(service, labelled, folder)
            record.notes[name] = {"train": len(labelled.train), "test": len(labelled.test), "baseline": base, **scores}
            for model, runs in scores.items():
                gains[model].append(statistics.mean(run["accuracy"] for run in runs) - base["accuracy"])
            record.at_least(f"{name}: auto less baseline ({base['accuracy']:.4f})", gains["auto"][-1], -AUTO_SHORTFALL)
            others = {model: round(values[-1], 4) for model, values in gains.items()}
            print(f"       {name}: {others}", flush=True)
    record.at_least("mean of auto less baseline", statistics.mean(gains["auto"]), AUTO_GAIN)
    for model in ("lstm", "gru", "transformer"):
        close = sum(gain >= -NETWORK_SHORTFALL for gain in gains[model])
        fewest = FEWEST_SETS - (len(makers) - len(gains[model]))
        record.at_least(f"sets on which {model} is within 1 point of the baseline or above it", close, fewest)


def baseline(labelled: LabelledSet) -> dict[str, Any]:
    """Fit a linear SVM and a logistic regression to the training rows, and return whichever is better on the validation
    rows.

    With many labels, only the SVM is fitted, because a logistic regression would take too long.
    """
    fitted = []
    few = len({label for _, label in labelled.train}) <= MOST_LABELS
    for model in (LinearSVC(), LogisticRegression(C=10.0, max_iter=1000))[: 2 if few else 1]:
        features = make_union(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char", ngram_range=(2, 5), sublinear_tf=True),
        )
        pipeline = make_pipeline(features, model).fit(*_columns(labelled.train))
        fitted.append((pipeline.score(*_columns(labelled.validation)), type(model).__name__, pipeline))
    _, name, chosen = max(fitted, key=lambda each: each[0])
    texts, labels = _columns(labelled.test)
    answers = chosen.predict(texts)
    return {"model": name, **_figures(labels, list(answers))}


def _columns(examples: list[Example]) -> tuple[list[str], list[str]]:
    return [text for text, _ in examples], [label for _, label in examples]


def _figures(labels: list[str], answers: list[str]) -> dict[str, float]:
    accuracy = float(accuracy_score(labels, answers))
    return {"accuracy": round(accuracy, 4), "macro_f1": round(float(f1_score(labels, answers, average="macro")), 4)}


def _scores(service: Service, labelled: LabelledSet, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return each model's test figures, with one entry per seed."""
    file = service.upload(labelled.write(folder))
    scores: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for seed in SEEDS:
        made = {
            model: service.train(model=model, training_file=file, suffix=f"{labelled.name}-{model}", seed=seed)
            for model in ("auto", "lstm")
        }
        ended = {model: service.finish(job["id"], PATIENCE) for model, job in made.items()}
        for model, job in ended.items():
            if job["status"] != "succeeded":
                raise RuntimeError(f"{model} on {labelled.name}: {job['error']}")
            test = service.version(job["fine_tuned_model"])["metrics"]["test"]
            scores[model].append({"accuracy": round(test["accuracy"], 4), "macro_f1": round(test["macro_f1"], 4)})
        chosen = next(trial["model"] for trial in ended["auto"]["trials"] if trial["chosen"])
        scores["auto"][-1]["chosen"] = chosen
        for trial in ended["auto"]["trials"]:
            scores[trial["model"]].append(_trial_figures(service, trial["id"], labelled.test))
    return scores


def _trial_figures(service: Service, job_id: str, test: list[Example]) -> dict[str, float]:
    """Return the test figures of the checkpoint that a trial kept."""
    kept = checked(service.client.get(f"/v1/fine_tuning/jobs/{job_id}/checkpoints"))["data"]
    reference = max(kept, key=lambda checkpoint: checkpoint["step_number"])["fine_tuned_model_checkpoint"]
    texts, labels = _columns(test)
    answers: list[str] = []
    for start in range(0, len(texts), 200):
        reply = service.classify(reference, texts[start : start + 200], truncate_prompt_tokens=-1)
        answers += [item["label"] for item in reply["data"]]
    return _figures(labels, answers)
