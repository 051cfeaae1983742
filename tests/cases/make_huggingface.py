"""Makes small Hugging Face directories with random weights, and the outputs of `transformers` for a few texts.

The directories in tests/cases/huggingface were made with this script, transformers 5.24 and torch 2.13. It is not run
by the tests, which do not need transformers:

    pip install torch transformers && python tests/cases/make_huggingface.py tests/cases/huggingface [NAME …]
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "hello world", "The quick brown fox jumps over the lazy dog.", "a", "It's 3.14 (or so), don't you think?",
    "  two  spaces ", "naïve café", "WHAT A LOVELY DAY", "ünïcödé 東京 🙂", "one\ntwo\tthree",
    "1234567890 !?#$%",
]  # fmt: skip
PAIRS = [("a cat", "an animal"), ("is it raining?", "The sky is blue and the sun shines."), ("x", "y z")]
CORPUS = [*TEXTS, *(text for pair in PAIRS for text in pair)] * 3
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}


def word_piece() -> Any:
    native = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    native.normalizer = normalizers.BertNormalizer(lowercase=True)
    native.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    native.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=140, special_tokens=special))
    native.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    native.decoder = decoders.WordPiece()
    return transformers.BertTokenizerFast(tokenizer_object=native, model_max_length=40)


def byte_level() -> Any:
    native = tokenizers.Tokenizer(models.BPE())
    native.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    native.train_from_iterator(CORPUS, trainer)
    native.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    native.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=native, model_max_length=38, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        cls_token="<s>", sep_token="</s>", unk_token="<unk>", mask_token="<mask>",
    )  # fmt: skip


def modern_byte_level() -> Any:
    native = tokenizers.Tokenizer(models.BPE())
    native.normalizer = normalizers.NFC()
    native.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    native.train_from_iterator(CORPUS, trainer)
    native.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    native.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=native, model_max_length=128, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        unk_token="[UNK]", mask_token="[MASK]", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def randomised(model: Any) -> Any:
    """Set all parameters to random values.

    With the usual initial values, swapped norms or biases would not be detected.
    """
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model.eval()


@torch.no_grad()
def classifies(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write the logits of each text and pair, computed separately and without padding."""
    rows = [tokenizer(text) for text in TEXTS] + [tokenizer(*pair) for pair in PAIRS]
    outputs = [model(**{k: torch.tensor([v]) for k, v in row.items()}).logits[0].tolist() for row in rows]
    write(folder, [row["input_ids"] for row in rows], outputs)


@torch.no_grad()
def embeds(folder: Path, model: Any, tokenizer: Any, cls: bool = False) -> None:
    rows = [tokenizer(text) for text in TEXTS]
    hidden = [model(**{k: torch.tensor([v]) for k, v in row.items()}).last_hidden_state[0] for row in rows]
    pooled = [h[0] if cls else h.mean(0) for h in hidden]
    write(folder, [row["input_ids"] for row in rows], [(v / v.norm()).tolist() for v in pooled])


def write(folder: Path, ids: list[list[int]], outputs: list[list[float]]) -> None:
    expected = {"texts": TEXTS, "pairs": PAIRS, "ids": ids, "outputs": outputs}
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False))


def bert(folder: Path) -> None:
    tokenizer = word_piece()
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=40, type_vocab_size=2,
        problem_type="multi_label_classification",
        id2label={0: "calm", 1: "angry", 2: "glad"}, label2id={"calm": 0, "angry": 1, "glad": 2}, **SIZES,
    )  # fmt: skip
    model = randomised(transformers.BertForSequenceClassification(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    classifies(folder, model, tokenizer)


def distilbert(folder: Path) -> None:
    tokenizer = word_piece()
    config = transformers.DistilBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=40, dim=16, n_layers=2, n_heads=4, hidden_dim=24,
        num_labels=2,
    )  # fmt: skip
    model = randomised(transformers.DistilBertForSequenceClassification(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    classifies(folder, model, tokenizer)


def roberta(folder: Path) -> None:
    tokenizer = byte_level()
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=40, type_vocab_size=1, pad_token_id=1, num_labels=1,
        layer_norm_eps=1e-5, **SIZES,
    )  # fmt: skip
    model = randomised(transformers.RobertaForSequenceClassification(config))
    model.save_pretrained(folder, max_shard_size="12KB")
    tokenizer.save_pretrained(folder)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    classifies(folder, model, tokenizer)


def minilm(folder: Path) -> None:
    """Make a sentence-transformers directory in the layout of 2021, with a masked-LM checkpoint as
    pytorch_model.bin."""
    tokenizer = word_piece()
    config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, type_vocab_size=2, **SIZES)
    masked = randomised(transformers.BertForMaskedLM(config))
    config.architectures = ["BertForMaskedLM"]
    config.save_pretrained(folder)
    torch.save(masked.state_dict(), folder / "pytorch_model.bin")
    tokenizer.save_pretrained(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    embeds(folder, masked.bert, tokenizer, cls=True)


def modern_config(tokenizer: Any, **options: Any) -> Any:
    """Layers of both kinds, and a window that is shorter than most texts."""
    ids = {"pad_token_id": 3, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    return transformers.ModernBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=128, local_attention=6, **ids,
        **SIZES | {"num_hidden_layers": 4} | options,
    )  # fmt: skip


def modernbert(folder: Path) -> None:
    """A classifier with the configuration keys of transformers 5."""
    tokenizer = modern_byte_level()
    config = modern_config(tokenizer, num_labels=3, classifier_pooling="mean")
    model = randomised(transformers.ModernBertForSequenceClassification(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    classifies(folder, model, tokenizer)


def modernbert_sentences(folder: Path) -> None:
    """A sentence-transformers directory with a masked-LM checkpoint, and the configuration keys of transformers 4."""
    tokenizer = modern_byte_level()
    bases = {"full_attention": 5_000.0, "sliding_attention": 50.0}
    rope = {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()}
    kinds = ["full_attention", "sliding_attention"] * 2
    config = modern_config(tokenizer, norm_bias=True, attention_bias=True, layer_types=kinds, rope_parameters=rope)
    masked = randomised(transformers.ModernBertForMaskedLM(config))
    masked.save_pretrained(folder)
    old = {"global_attn_every_n_layers": 2, "global_rope_theta": 5_000.0, "local_rope_theta": 50.0}
    content = json.loads((folder / "config.json").read_text())
    new = {"layer_types", "rope_parameters"}
    content = {key: value for key, value in content.items() if key not in new}
    old |= {"reference_compile": None, "layer_norm_eps": 1e-5, "position_embedding_type": "absolute"}
    (folder / "config.json").write_text(json.dumps(content | old))
    tokenizer.save_pretrained(folder)
    modules = {"": "base.modules.transformer.Transformer", "1_Pooling": "sentence_transformer.modules.pooling.Pooling"}
    listed = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.{kind}"}
        for index, (path, kind) in enumerate(modules.items())
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    pooling = {"embedding_dimension": 16, "pooling_mode": "mean", "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    embeds(folder, masked.model, tokenizer)


@torch.no_grad()
def continues(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write the logits after each text, and the greedy continuation of the first text."""
    model = model.float()
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    logits = [model(torch.tensor([row])).logits[0, -1] for row in rows]
    save_file({"logits": torch.stack(logits)}, folder / "expected.safetensors")
    greedy = model.generate(
        torch.tensor([rows[0]]), max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=1
    )
    write(folder, rows, [])
    edit(folder / "expected.json", greedy=greedy[0, len(rows[0]) :].tolist())


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values, ensure_ascii=False))


def decoder(folder: Path, config: Any, **old: Any) -> None:
    """A language model in bfloat16. `old` contains entries that replace those of the written config.json."""
    tokenizer = byte_level()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
    config.vocab_size, config.pad_token_id, config.bos_token_id, config.eos_token_id = len(tokenizer), 1, 0, 2
    model = randomised(transformers.AutoModelForCausalLM.from_config(config)).bfloat16()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if old:
        edit(folder / "config.json", **old)
    continues(folder, model, tokenizer)


def gpt2(folder: Path) -> None:
    decoder(folder, transformers.GPT2Config(n_embd=16, n_layer=2, n_head=4, n_inner=24, n_positions=40))


def llama(folder: Path) -> None:
    """With untied embeddings, and with the configuration keys of transformers 4."""
    rope = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope |= {"original_max_position_embeddings": 16}
    config = transformers.LlamaConfig(
        **SIZES, num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False, attention_bias=False,
        rope_parameters=rope | {"rope_theta": 500_000.0},
    )  # fmt: skip
    decoder(folder, config, rope_parameters=None, rope_scaling=rope, rope_theta=500_000.0)


def mistral(folder: Path) -> None:
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    options = SIZES | {"num_key_value_heads": 1, "max_position_embeddings": 128, "sliding_window": 48}
    decoder(folder, transformers.MistralConfig(**options, rope_parameters=rope))


def qwen2(folder: Path) -> None:
    options = SIZES | {"num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": True}
    decoder(folder, transformers.Qwen2Config(**options))


def qwen3(folder: Path) -> None:
    options = SIZES | {"num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 6}
    decoder(folder, transformers.Qwen3Config(**options))


def smollm3(folder: Path) -> None:
    options = SIZES | {"num_key_value_heads": 2, "max_position_embeddings": 64, "no_rope_layer_interval": 2}
    decoder(folder, transformers.SmolLM3Config(**options))


DECODERS = {"gpt2": gpt2, "llama": llama, "mistral": mistral, "qwen2": qwen2, "qwen3": qwen3, "smollm3": smollm3}
ENCODERS = {
    "bert": bert, "distilbert": distilbert, "roberta": roberta, "minilm": minilm, "modernbert": modernbert,
    "modernbert-sentences": modernbert_sentences,
}  # fmt: skip


def main(target: Path, *names: str) -> None:
    for name, make in (ENCODERS | DECODERS).items():
        if names and name not in names:
            continue
        folder = target / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
