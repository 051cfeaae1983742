"""Reads the config.json of a Hugging Face model, and rejects all unknown entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from app.importing.pytorch.tensors import ForeignFileInvalid

CODE = ("auto_map", "custom_pipelines", "trust_remote_code")  # entries that refer to code
# Entries that do not affect the output: descriptions, settings of training, and defaults of `generate`.
WITHOUT_EFFECT = frozenset(
    (
        "_attn_implementation", "_attn_implementation_autoset", "_name_or_path", "_num_labels", "architectures",
        "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "bad_words_ids", "begin_suppress_tokens",
        "bos_token_id", "chunk_size_feed_forward", "classifier_dropout", "cls_token_id", "cross_attention_hidden_size",
        "decoder_start_token_id", "directionality", "diversity_penalty", "do_sample", "dropout", "dtype",
        "early_stopping", "embd_pdrop", "encoder_no_repeat_ngram_size", "eos_token_id",
        "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id",
        "gradient_checkpointing", "hidden_dropout_prob", "id2label", "initializer_factor", "initializer_range",
        "keys_to_ignore_at_inference", "label2id", "language", "length_penalty", "license",
        "max_length", "min_length", "model_max_length", "model_type", "name", "no_repeat_ngram_size",
        "num_beam_groups", "num_beams", "num_labels", "num_return_sequences", "output_attentions",
        "output_hidden_states", "output_past", "output_scores", "pad_token_id", "pooler_fc_size",
        "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "prefix",
        "pretraining_tp", "problem_type", "qa_dropout", "remove_invalid_values", "repetition_penalty", "resid_pdrop",
        "return_dict", "return_dict_in_generate", "sep_token_id", "seq_classif_dropout", "summary_activation",
        "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj", "suppress_tokens",
        "task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tie_weights_",
        "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript", "transformers_version",
        "transformers.js_config", "typical_p", "use_bfloat16", "use_cache", "xla_device",
    )
)  # fmt: skip
# Entries that must have one of these values, because any other changes the computation.
FIXED: Mapping[str, tuple[Any, ...]] = {
    "add_cross_attention": (False, None),
    "is_decoder": (False, None),
    "is_encoder_decoder": (False, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
}


class SourceConfig:
    """The entries of a config.json. Records which entries have been read, so that `settle` can reject all others."""

    def __init__(self, values: Mapping[str, Any], name: str = "config.json") -> None:
        self.values, self.name = values, name
        self._read: set[str] = set()
        if named := [key for key in CODE if values.get(key)]:
            raise ForeignFileInvalid(
                f"{name} refers to code ({', '.join(named)}): the network's family cannot be imported, "
                "and code is never run"
            )

    def get(self, *keys: str, default: Any = None) -> Any:
        """Return the value of the first key that is present and not null, or `default`."""
        self._read.update(keys)
        return next((self.values[key] for key in keys if self.values.get(key) is not None), default)

    def count(self, *keys: str, default: int | None = None) -> int:
        """Return a positive integer. Raises ForeignFileInvalid if the entry is missing or has any other value."""
        value = self.get(*keys, default=default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self.refuse(keys[0], "must be an integer of 1 or more")
        return value

    def number(self, *keys: str, default: float) -> float:
        """Return a number. Raises ForeignFileInvalid if the entry has any other value."""
        value = self.get(*keys, default=default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.refuse(keys[0], "must be a number")
        return float(value)

    def flag(self, *keys: str, default: bool) -> bool:
        """Return a boolean. Raises ForeignFileInvalid if the entry has any other value."""
        value = self.get(*keys, default=default)
        if not isinstance(value, bool):
            self.refuse(keys[0], "must be true or false")
        return value

    def choice(self, *keys: str, options: Mapping[str, str], default: str | None = None) -> str:
        """Return our name for an entry's value. Raises ForeignFileInvalid for an unknown value."""
        value = self.get(*keys, default=default)
        if not isinstance(value, str) or value not in options:
            self.refuse(keys[0], f"must be one of {', '.join(options)}")
        return options[value]

    def expect(self, key: str, *allowed: Any) -> None:
        """Raise ForeignFileInvalid if an entry is present and has none of the allowed values."""
        self._read.add(key)
        if key in self.values and self.values[key] not in allowed:
            self.refuse(key, f"only {' or '.join(map(repr, allowed))} can be imported")

    def refuse(self, key: str, reason: str) -> NoReturn:
        """Raise ForeignFileInvalid because of an entry's value."""
        raise ForeignFileInvalid(f"{self.name}: {key} is {self.values.get(key)!r:.80}; {reason}")

    def settle(self, ignored: Iterable[str] = ()) -> None:
        """Raise ForeignFileInvalid if an entry may affect the output but has not been read.

        `ignored` contains the entries that, according to the user, have no effect.
        """
        for key, allowed in FIXED.items():
            self.expect(key, *allowed)
        rest = sorted(set(self.values) - self._read - WITHOUT_EFFECT - set(CODE) - set(ignored))
        if rest:
            raise ForeignFileInvalid(
                f"{self.name} has entries that are not supported: {', '.join(key[:60] for key in rest)}; if they do "
                f"not affect the output, add --set ignore={','.join(key[:60] for key in rest)}"
            )
