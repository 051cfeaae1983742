"""Creates a GGUF file with a tiny Llama model and random weights, for the commands in docs/guides/serve-gguf.md.

Usage: python examples/tiny_gguf.py FILE
"""

import struct
import sys
from pathlib import Path

import numpy as np

WIDTH, INNER, LAYERS, HEADS, CONTEXT = 32, 64, 2, 4, 256
visible = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that stand for themselves in byte-level BPE
hidden = [byte for byte in range(256) if byte not in visible]
characters = {byte: chr(byte) for byte in visible} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}
tokens = ["<|im_start|>", "<|im_end|>", *(characters[byte] for byte in range(256))]

metadata = {
    "general.architecture": "llama", "llama.block_count": LAYERS, "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": INNER, "llama.attention.head_count": HEADS, "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.context_length": CONTEXT, "llama.rope.freq_base": 1e4,
    "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": [3, 3] + [1] * 256, "tokenizer.ggml.merges": [],
    "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1,
}  # fmt: skip
shapes = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,)}
for layer in range(LAYERS):
    name, narrow = f"blk.{layer}", WIDTH // 2  # two heads share keys and values
    shapes |= {f"{name}.attn_norm": (WIDTH,), f"{name}.ffn_norm": (WIDTH,), f"{name}.attn_q": (WIDTH, WIDTH)}
    shapes |= {f"{name}.attn_k": (narrow, WIDTH), f"{name}.attn_v": (narrow, WIDTH)}
    shapes |= {f"{name}.attn_output": (WIDTH, WIDTH), f"{name}.ffn_down": (WIDTH, INNER)}
    shapes |= {f"{name}.ffn_gate": (INNER, WIDTH), f"{name}.ffn_up": (INNER, WIDTH)}


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def encoded(value):
    """Return a metadata value in GGUF's format: the number of its type, followed by the value."""
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    numbers = bool(value) and isinstance(value[0], int)
    items = [struct.pack("<i", item) if numbers else text(item) for item in value]
    return struct.pack("<IIQ", 9, 5 if numbers else 8, len(value)) + b"".join(items)


random, infos, data = np.random.default_rng(0), b"", b""
for name, shape in shapes.items():
    values = np.ones(shape) if len(shape) == 1 else random.normal(size=shape) / shape[1] ** 0.5
    infos += text(f"{name}.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), 0, len(data))
    data += values.astype("<f4").tobytes()
    data += bytes(-len(data) % 32)
header = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(metadata))
header += b"".join(text(key) + encoded(value) for key, value in metadata.items()) + infos
Path(sys.argv[1]).write_bytes(header + bytes(-len(header) % 32) + data)
