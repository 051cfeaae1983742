"""Small GGUF files, written from the Hugging Face directories in tests/cases."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from app.importing.gguf.names import PARTS, WHOLE
from tests.importing.huggingface.directories import CASES

OURS = {theirs: ours for ours, theirs in (PARTS | WHOLE).items()}
BLOCKS = Path(__file__).parents[2] / "cases" / "gguf" / "blocks.npz"


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value_bytes(value: Any) -> bytes:
    """The encoding of a metadata value, which begins with its type."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    strings = not value or isinstance(value[0], str)
    items = [text(item) if strings else struct.pack("<i", item) for item in value]
    return struct.pack("<IIQ", 9, 8 if strings else 5, len(value)) + b"".join(items)


def header(metadata: dict[str, Any], infos: list[tuple[str, tuple[int, ...], int, int]]) -> bytes:
    """The header of a file. `infos` contains the name, the shape, the type and the offset of each tensor."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(infos), len(metadata))]
    parts += [text(key) + value_bytes(value) for key, value in metadata.items()]
    for name, shape, kind, offset in infos:
        parts.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, offset))
    content = b"".join(parts)
    return content + bytes(-len(content) % 32)


def write(path: Path, metadata: dict[str, Any], tensors: dict[str, np.ndarray]) -> Path:
    infos, data = [], b""
    for name, tensor in tensors.items():
        infos.append((name, tensor.shape, 0, len(data)))
        data += tensor.astype("<f4").tobytes()
        data += bytes(-len(data) % 32)
    path.write_bytes(header(metadata, infos) + data)
    return path


def model(name: str, architecture: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The metadata and the tensors of a directory's model, named and ordered as by the converter of llama.cpp."""
    config = json.loads((CASES / name / "config.json").read_text())
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    tensors = {}
    for key, tensor in load_file(CASES / name / "model.safetensors").items():
        numbers, (whole, _, kind) = tensor.float().numpy(), key.removeprefix("model.").rpartition(".")
        layer, _, part = whole.removeprefix("layers.").partition(".")
        if architecture == "llama" and part in ("self_attn.q_proj", "self_attn.k_proj"):
            count = heads if part == "self_attn.q_proj" else groups
            numbers = numbers.reshape(count, 2, -1, numbers.shape[1]).swapaxes(1, 2).reshape(numbers.shape)
        plain = OURS[whole] if whole in OURS else f"blk.{layer}.{OURS[part]}"
        tensors[f"{plain}.{kind}"] = numbers
    head = config.get("head_dim") or config["hidden_size"] // heads
    sizes = {
        "block_count": config["num_hidden_layers"], "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"], "attention.head_count": heads,
        "attention.head_count_kv": groups, "attention.key_length": head, "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"], "context_length": config["max_position_embeddings"],
        "rope.freq_base": config["rope_parameters"]["rope_theta"], "rope.dimension_count": head,
    }  # fmt: skip
    metadata = {"general.architecture": architecture} | {f"{architecture}.{key}": size for key, size in sizes.items()}
    return metadata | tokens(name), tensors


def tokens(name: str) -> dict[str, Any]:
    definition = json.loads((CASES / name / "tokenizer.json").read_text())
    vocabulary = definition["model"]["vocab"]
    special = {token["content"] for token in definition["added_tokens"]}
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    return {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": ordered,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in ordered],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in definition["model"]["merges"]],
        "tokenizer.ggml.eos_token_id": vocabulary["</s>"], "tokenizer.ggml.bos_token_id": vocabulary["<s>"],
        "tokenizer.chat_template": "{{ messages }}",
    }  # fmt: skip
