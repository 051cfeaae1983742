"""Creates a directory in the layout of all-MiniLM-L6-v2 with a small random network, for the commands in the guides.

Usage: python examples/tiny_encoder.py FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

WIDTH, INNER, LAYERS, HEADS, POSITIONS = 32, 64, 2, 4, 128
words = "printer paper invoice payment refund password login email screen keyboard is not my the a does work broken"
letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
pieces = [*letters, *(f"##{letter}" for letter in letters), *words.split()]
vocabulary = list(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]))

config = {
    "architectures": ["BertModel"], "model_type": "bert", "vocab_size": len(vocabulary), "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": INNER, "hidden_act": "gelu",
    "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
}  # fmt: skip
random = np.random.default_rng(0)
shapes = {
    "embeddings.word_embeddings": (len(vocabulary), WIDTH), "embeddings.position_embeddings": (POSITIONS, WIDTH),
    "embeddings.token_type_embeddings": (2, WIDTH),
}  # fmt: skip
weights = {f"{name}.weight": random.normal(size=shape) for name, shape in shapes.items()}
norms = ["embeddings.LayerNorm"]
for layer in range(LAYERS):
    name = f"encoder.layer.{layer}"
    norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    matrices = {f"{name}.attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
    matrices |= {f"{name}.attention.output.dense": (WIDTH, WIDTH), f"{name}.intermediate.dense": (INNER, WIDTH)}
    matrices |= {f"{name}.output.dense": (WIDTH, INNER)}
    for matrix, (rows, columns) in matrices.items():
        weights[f"{matrix}.weight"] = random.normal(size=(rows, columns)) / columns**0.5
        weights[f"{matrix}.bias"] = np.zeros(rows)
for norm in norms:
    weights |= {f"{norm}.weight": np.ones(WIDTH), f"{norm}.bias": np.zeros(WIDTH)}

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
save_file({name: value.astype(np.float32) for name, value in weights.items()}, folder / "model.safetensors")
(folder / "config.json").write_text(json.dumps(config, indent=2))
(folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
(folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "model_max_length": POSITIONS}))
