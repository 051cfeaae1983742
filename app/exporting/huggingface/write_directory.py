"""Writes a version as a directory in Hugging Face's layout, for `ostinato export` on the user's machine.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import save_file

from app.checkpoint import directory as checkpoint
from app.exporting.huggingface.decoder_export import decoder_content
from app.exporting.huggingface.directory_content import DirectoryContent
from app.exporting.huggingface.encoder_export import encoder_content
from app.exporting.huggingface.tokenizer_files import write_tokenizer
from app.exporting.huggingface.usage import usage
from app.exporting.source_version import ExportRefused, SourceVersion

METADATA = {"format": "pt"}  # transformers rejects files without this entry


def write_directory(version: SourceVersion, target: Path) -> str:
    """Write a version to the new directory `target`, and return the name of its class in transformers.

    Raises ExportRefused for a version that no model family in transformers can compute.
    """
    content = content_of(version)
    target.mkdir(parents=True)
    checkpoint.write_json(target / "config.json", {"pad_token_id": None} | content.config | {"dtype": "float32"})
    save_file(content.tensors, target / "model.safetensors", METADATA)
    write_tokenizer(target, version)
    if version.config.task == "generation" and content.config["eos_token_id"] is not None:
        checkpoint.write_json(target / "generation_config.json", {"eos_token_id": content.config["eos_token_id"]})
    if content.modules is not None:
        for name, value in content.modules.values.items():
            (target / name).parent.mkdir(exist_ok=True)
            checkpoint.write_json(target / name, value)
        for name, tensors in content.modules.weights.items():
            save_file(tensors, target / name, METADATA)
    (target / "README.md").write_text(f"{usage(version, content)}\n{version.card}", encoding="utf-8")
    return str(content.config["architectures"][0])


def content_of(version: SourceVersion) -> DirectoryContent:
    """Return the content of the directory. Raises ExportRefused if no model family can compute the version."""
    config = version.config
    if config.architecture != "transformer":
        other = (
            "use --format checkpoint, which uses torch.nn's names for weights, or serve the version with this service"
        )
        remedy = other if config.task == "generation" or config.ngram_buckets else "use --format onnx"
        raise ExportRefused(f"transformers has no family for the architecture {config.architecture}; {remedy}")
    return decoder_content(version) if config.task == "generation" else encoder_content(version)
