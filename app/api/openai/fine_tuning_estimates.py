"""The reply to a dry run of a training request."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from app.api.openapi.parameters import FILE_ID
from app.jobs.request import JobRequest
from app.wire.estimate import DataSummary, Estimate, EstimateNote, TrainingPlan


class JobEstimate(msgspec.Struct, frozen=True):
    """The estimate for a training job.

    `plans` contains one training run, or the trials of a job whose `model` is auto. `vocab_size` is null for numeric
    data. `parameters` and `memory_bytes` are the maxima over all plans; `seconds` is the total time if all plans run
    one after another and none of them stops early. `data.columns` maps each role to its column, and the
    `choices` of a plan contain the value of each option and the reason for it. `notes` contains remarks about the data
    and settings. `report` describes the data: lengths with a histogram, duplicates, contradictory labels and hashes.
    """

    object: Literal["fine_tuning.job.estimate"]
    model: str
    training_file: str
    validation_file: str | None
    task: str
    data: DataSummary
    vocab_size: int | None
    plans: list[TrainingPlan]
    parameters: int
    memory_bytes: int
    seconds: float
    notes: list[EstimateNote]
    report: dict[str, Any]


ESTIMATE: dict[str, Any] = {
    "object": "fine_tuning.job.estimate",
    "model": "gru",
    "training_file": FILE_ID,
    "validation_file": None,
    "task": "classification",
    "data": {
        "rows": {"train": 4500, "validation": 500},
        "characters": {},
        "tokens": {"train": 121500, "validation": 13480},
        "labels": {"train": {"bug": 2100, "question": 2400}, "validation": {"bug": 233, "question": 267}},
        "columns": {"text": "message", "label": "label"},
        "ignored_columns": ["id"],
    },
    "vocab_size": 2048,
    "plans": [
        {
            "model": "gru",
            "architecture": "gru",
            "layers": 1,
            "width": 64,
            "context_length": 128,
            "parameters": 1922564,
            "steps": 2115,
            "ends_earlier": "the learning rate starts to decay after 2 consecutive evaluations without a better "
            "macro_f1",
            "trained_tokens": 1822500,
            "batch_size": 32,
            "learning_rate": 0.006,
            "optimizer": "muon",
            "schedule": "plateau",
            "precision": "float32",
            "device": "cpu",
            "threads": 2,
            "seconds_per_step": 0.021,
            "memory": {
                "weights": 7690256,
                "optimizer": 8100120,
                "activations": 98211840,
                "libraries": 350000000,
                "total": 464002216,
                "limit": 16777216000,
            },
            "seconds": {"preparation": 9.1, "steps": 44.4, "evaluations": 6.2, "closing": 3.4, "total": 63.1},
            "choices": [
                {
                    "option": "optimizer",
                    "value": "muon",
                    "reason": "Muon needs fewer steps here than AdamW.",
                    "requested": False,
                },
                {"option": "layers", "value": 1, "reason": "Set in the request.", "requested": True},
            ],
        }
    ],
    "parameters": 1922564,
    "memory_bytes": 464002216,
    "seconds": 63.1,
    "notes": [
        {"level": "warn", "kind": "duplicates", "message": "12 rows are duplicates of another row in the same split"}
    ],
    "report": {"duplicates": {"train": 12}, "lengths": {"train": {"min": 3, "median": 24, "max": 181}}},
}


def estimate_object(request: JobRequest, estimate: Estimate) -> JobEstimate:
    """Return the reply to a dry run of `request`."""
    return JobEstimate(
        object="fine_tuning.job.estimate",
        model=request.model,
        training_file=request.training_file,
        validation_file=request.validation_file,
        task=estimate.task,
        data=estimate.data,
        vocab_size=estimate.vocab_size,
        plans=estimate.plans,
        parameters=estimate.parameters,
        memory_bytes=estimate.memory,
        seconds=estimate.seconds,
        notes=estimate.notes,
        report=estimate.report,
    )
