"""Converts a checkpoint directory to the format of another program."""

from __future__ import annotations

from pathlib import Path

from app.exporting.huggingface.write_adapter import write_adapter
from app.exporting.huggingface.write_directory import write_directory
from app.exporting.onnx.write_model import write_model
from app.exporting.source_version import read_version

WRITERS = {"huggingface": write_directory, "onnx": write_model, "peft": write_adapter}


def convert_version(checkpoint: Path, target: Path, to_format: str) -> str:
    """Write the new directory `target`, and return a description of the model in it.

    `to_format` is a key of `WRITERS`. Raises ExportRefused for a version that the format cannot express.
    """
    return WRITERS[to_format](read_version(checkpoint), target)
