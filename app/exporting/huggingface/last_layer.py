"""The last layer of a head, including the calibration, and the names of its outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.exporting.source_version import ExportRefused, SourceVersion
from app.importing.huggingface import heads
from app.importing.pytorch.tensors import Array

COARSE = 1e-3  # maximum distance between adjacent float32 values near a regression's mean, in standard deviations
PROBLEMS = {task: problem for problem, task in heads.PROBLEMS.items()}


def check_fields(wrong: list[str]) -> None:
    """Raise ExportRefused if a field of the network has a value that no family in transformers supports."""
    if wrong:
        raise ExportRefused(
            f"no encoder in transformers has the same layers as this version: {', '.join(wrong)}; use --format onnx, "
            "or fine-tune an imported encoder such as MiniLM"
        )


def last_layer(version: SourceVersion) -> tuple[Array, Array]:
    """Return the weight and the bias of the last layer, with the calibration folded into them.

    Other programs therefore compute the same probabilities as the service. Raises ExportRefused for a regression whose
    values are so far from 0, relative to their standard deviation, that float32 is not precise enough.
    """
    weight = version.tensors["head.weight"]
    bias = version.tensors.get("head.bias", np.zeros(len(weight), np.float32))
    if version.calibration is None:
        return weight, bias
    scale, offset = version.calibration
    if version.config.task == "regression":
        _check_precision(float(scale[0]), float(offset[0]))
    return (weight * scale[:, None]).astype(np.float32), (bias * scale + offset).astype(np.float32)


def _check_precision(std: float, mean: float) -> None:
    spacing = float(np.spacing(np.float32(abs(mean))))
    if spacing > COARSE * std:
        raise ExportRefused(
            f"transformers computes values in float32, which can represent only multiples of {spacing:g} near the mean "
            f"{mean:g}; this is too coarse for a standard deviation of {std:g}; use --format onnx"
        )


def outputs(version: SourceVersion) -> dict[str, Any]:
    """Return the entries of config.json for the labels and the kind of problem."""
    names = version.labels or ["value"]
    return {
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": PROBLEMS[version.config.task],
    }
