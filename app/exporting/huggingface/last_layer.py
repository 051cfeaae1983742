"""The last layer of a head with the calibration, and the names of its outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.exporting.source_version import ExportRefused, SourceVersion
from app.importing.huggingface import heads
from app.importing.pytorch.tensors import Array

PROBLEMS = {task: problem for problem, task in heads.PROBLEMS.items()}


def check_fields(wrong: list[str]) -> None:
    """Raise ExportRefused if a field of the network has a value that no family in transformers supports."""
    if wrong:
        raise ExportRefused(
            f"transformers has no encoder with the layers of this version: {', '.join(wrong)}; use --format onnx, or "
            "fine-tune an imported encoder such as MiniLM"
        )


def last_layer(version: SourceVersion) -> tuple[Array, Array]:
    """The weight and the bias of the last layer, multiplied by the calibration.

    Other programs therefore compute the same probabilities as the service.
    """
    weight = version.tensors["head.weight"]
    bias = version.tensors.get("head.bias", np.zeros(len(weight), np.float32))
    if version.calibration is None:
        return weight, bias
    scale, offset = version.calibration
    return weight * scale[:, None], bias * scale + offset


def outputs(version: SourceVersion) -> dict[str, Any]:
    """The entries of config.json that name the outputs."""
    names = version.labels or ["value"]
    return {
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": PROBLEMS[version.config.task],
    }
