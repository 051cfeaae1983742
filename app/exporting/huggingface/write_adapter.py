"""Writes the adapter of a version in the layout of PEFT, with the names of the base's modules in transformers.

Imports neither torch nor PEFT. The layout is described in PEFT's documentation (developer guides, "PEFT checkpoint
format").
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from app.checkpoint import directory as checkpoint
from app.checkpoint.adapter import ADAPTER, PREFIX, LowRankAdapter
from app.exporting.huggingface.write_directory import METADATA, content_of
from app.exporting.source_version import ExportRefused, SourceVersion
from app.importing.pytorch.tensors import Tensors
from models.adapters import DOWN, UP, is_adapter

CONFIG = "adapter_config.json"
MERGE = "use --format huggingface, which merges the adapter into its base"
POSITIONS = "body.positions.weight"  # a version with a shorter context has only the first positions of its base
USAGE = """\
To use this adapter, export its base with `ostinato export BASE base --format huggingface`, or use the directory from
which the base was imported:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("base"), ".")
```
"""


def write_adapter(version: SourceVersion, target: Path) -> str:
    """Write the adapter of a language model to the new directory `target`, and return a description of it.

    Raises ExportRefused if the version is not the adapter of a language model, or if it replaces a whole tensor of its
    base, such as the head.
    """
    adapter = version.adapter
    if adapter is None:
        raise ExportRefused("this version is not an adapter; use --format huggingface")
    if version.config.task != "generation":
        raise ExportRefused(f"only adapters of language models can be exported in the layout of PEFT; {MERGE}")
    if changed := sorted(name for name in version.own_tensors if not is_adapter(name) and name != POSITIONS):
        raise ExportRefused(f"this version also changes the tensor {changed[0]} of its base; {MERGE}")
    modules, transposed = _modules(version)
    ups = content_of(_with(version, {name: version.own_tensors[name + UP] for name in set(modules.values())})).tensors
    tensors: Tensors = {}
    for theirs, ours in modules.items():
        up = ups[f"{theirs}.weight"]
        tensors[f"{PREFIX}{theirs}.{DOWN}"] = version.own_tensors[ours + DOWN]
        tensors[f"{PREFIX}{theirs}.{UP}"] = np.ascontiguousarray(up.T if transposed else up)
    target.mkdir(parents=True)
    save_file(tensors, target / ADAPTER, METADATA)
    checkpoint.write_json(target / CONFIG, _settings(adapter, sorted(modules), transposed))
    (target / "README.md").write_text(f"{USAGE}\n{version.card}", encoding="utf-8")
    return f"LoRA of rank {adapter.r}"


def _modules(version: SourceVersion) -> tuple[dict[str, str], bool]:
    """Return the modules in transformers that the adapter changes, each with the prefix of our matrix.

    Also returns whether the matrices in transformers are transposed. Both are found by exporting matrices of constant
    columns, because the export only splits and transposes our matrices.
    """
    ours = [name.removesuffix(UP) for name in version.own_tensors if name.endswith(UP)]
    marks = {name: np.full((len(version.own_tensors[name + UP]), 1), -1.0 - i) for i, name in enumerate(ours)}
    single = replace(
        version, tensors={name: value.astype(np.float32, copy=False) for name, value in version.tensors.items()}
    )
    marked = content_of(_with(single, marks)).tensors  # the only tensors in float64
    targets = {name: value for name, value in marked.items() if value.dtype == np.float64 and value.ndim == 2}
    modules = {name.removesuffix(".weight"): ours[round(-1.0 - value.flat[0])] for name, value in targets.items()}
    return modules, any(value.shape[0] == 1 for value in targets.values())


def _with(version: SourceVersion, matrices: Tensors) -> SourceVersion:
    """Return the version with the given matrices, whose keys are the prefixes of their names."""
    return replace(version, tensors=version.tensors | {f"{name}weight": value for name, value in matrices.items()})


def _settings(adapter: LowRankAdapter, modules: list[str], transposed: bool) -> dict[str, Any]:
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": f"sha256:{adapter.base}",
        "r": adapter.r, "lora_alpha": adapter.alpha, "lora_dropout": adapter.dropout, "target_modules": modules,
        "fan_in_fan_out": transposed, "bias": "none", "inference_mode": True, "init_lora_weights": True,
    }  # fmt: skip
