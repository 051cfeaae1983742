"""The beginning of the README.md next to an exported ONNX file, which shows how to run the model."""

from __future__ import annotations

from app.exporting.source_version import SourceVersion

TOKENS = """\
import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

session, tokenizer = InferenceSession("model.onnx"), Tokenizer.from_file("tokenizer.json")
tokenizer.enable_padding(pad_id={pad})
rows = tokenizer.encode_batch(["a text", "another, longer text"])
inputs = {{"input_ids": [row.ids for row in rows], "attention_mask": [row.attention_mask for row in rows]}}
print(session.run(["{output}"], {{name: np.array(value, np.int64) for name, value in inputs.items()}}))
"""
NUMBERS = """\
import numpy as np
from onnxruntime import InferenceSession

session, features = InferenceSession("model.onnx"), np.zeros((1, 10, {features}), np.{type})
print(session.run(["{output}"], {{"features": features, "attention_mask": np.ones((1, 10), np.int64)}}))
"""
OUTPUTS = {"embedding": "embedding", "regression": "value"}


def usage(version: SourceVersion) -> str:
    """Return Markdown with a program that runs the model."""
    config = version.config
    output = OUTPUTS.get(config.task, "probabilities")
    template = TOKENS if config.input == "tokens" else NUMBERS
    code = template.format(pad=config.pad_id, features=config.features, type=version.number_type, output=output)
    lines = ["# How to run this model", "", "```python", *code.rstrip().splitlines(), "```", ""]
    lines.append("Padding must be on the right. `attention_mask` is 1 for tokens or steps, and 0 for padding.")
    if version.labels:
        lines.append(f"The columns of the output belong to these labels: {', '.join(version.labels)}.")
    return "\n".join([*lines, ""])
