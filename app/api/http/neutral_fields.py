"""Request fields from other servers' APIs: fields that have no effect here, and other names for this service's fields.

Clients for vLLM, llama.cpp and OpenAI send such fields with their default values. Each field is listed here with the
values that are accepted. Any other value would request an unsupported feature, so the request is rejected with an error
that names the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.errors import InvalidRequest

SENT_NAMES = "ostinato.sent_names"  # key of a dictionary in the ASGI scope: field of the struct -> its name in the body
ANY = object()  # the field has no effect, so any value is accepted
OFF = (False,)
NULL: tuple[Any, ...] = ()  # null is always accepted
NONE: tuple[Any, ...] = ([], {}, "")

OPENAI: Mapping[str, Any] = {
    "audio": NULL,
    "function_call": ("none", "auto"),
    "functions": NONE,
    "metadata": ANY,
    "modalities": (["text"],),
    "parallel_tool_calls": ANY,
    "prediction": NULL,
    "prompt_cache_key": ANY,
    "prompt_cache_retention": ANY,
    "safety_identifier": ANY,
    "reasoning_effort": ("none",),
    "service_tier": ("auto", "default"),
    "store": OFF,
    "stream": OFF,
    "tool_choice": ("none", "auto"),
    "tools": NONE,
    "verbosity": ("medium",),
    "web_search_options": NULL,
}
# Tools, audio and images are not supported in conversations. Values that do not request them are neutral.
OPENAI_CHAT: Mapping[str, Any] = {
    **OPENAI,
    "moderation": NULL,
    "prompt_cache_options": ANY,
    "reasoning_effort": ANY,
    "service_tier": ANY,
    "store": ANY,
    "verbosity": ANY,
}
OPENAI_RESPONSES: Mapping[str, Any] = {
    "background": OFF,
    "context_management": NONE,
    "conversation": (),
    "max_tool_calls": ANY,
    "moderation": (),
    "parallel_tool_calls": ANY,
    "previous_response_id": (),
    "prompt": (),
    "prompt_cache_key": ANY,
    "prompt_cache_options": ANY,
    "prompt_cache_retention": ANY,
    "reasoning": ANY,
    "safety_identifier": ANY,
    "service_tier": ANY,
    "store": OFF,
    "tool_choice": ("none", "auto"),
    "tools": NONE,
    "user": ANY,
}
NOT_STORED = "responses are not stored (input must contain the whole conversation)"
VLLM: Mapping[str, Any] = {
    "cache_salt": ANY,
    "mm_processor_kwargs": NONE,
    "priority": (0,),
    "request_id": ANY,
}
VLLM_SAMPLING: Mapping[str, Any] = {
    "allowed_token_ids": NONE,
    "bad_words": NONE,
    "detokenize": (True,),
    "early_stopping": OFF,
    "guided_choice": NONE,
    "guided_decoding_backend": ANY,
    "guided_grammar": NONE,
    "guided_json": NONE,
    "guided_regex": NONE,
    "guided_whitespace_pattern": ANY,
    "kv_transfer_params": NONE,
    "length_penalty": (1,),
    "logits_processors": NONE,
    "prompt_embeds": NONE,
    "return_tokens_as_token_ids": OFF,
    "structured_outputs": NONE,
    "suffix": NONE,
    "thinking_token_budget": NULL,
    "truncation_side": ("left",),
    "use_beam_search": OFF,
    "vllm_xargs": NONE,
}
VLLM_CHAT: Mapping[str, Any] = {
    "add_generation_prompt": (True,),
    "add_special_tokens": ANY,
    "chat_template": (),
    "chat_template_kwargs": NONE,
    "continue_final_message": OFF,
    "documents": NONE,
    "echo": OFF,
    "include_reasoning": ANY,
    "prompt_logprobs": (),
    "return_token_ids": OFF,
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": ANY,
    "structured_outputs": (),
}
LLAMA_CPP: Mapping[str, Any] = {
    "cache_prompt": ANY,
    "dry_allowed_length": ANY,
    "dry_base": ANY,
    "dry_multiplier": (0,),
    "dry_penalty_last_n": ANY,
    "dry_sequence_breakers": ANY,
    "dynatemp_exponent": ANY,
    "dynatemp_range": (0,),
    "grammar": NONE,
    "grammar_lazy": OFF,
    "grammar_triggers": NONE,
    "id_slot": (-1,),
    "image_data": NONE,
    "json_schema": NONE,
    "lora": NONE,
    "min_keep": (0, 1),
    "mirostat": (0,),
    "mirostat_eta": ANY,
    "mirostat_tau": ANY,
    "n_discard": (0,),
    "n_indent": (0,),
    "n_keep": (0,),
    "n_probs": (0,),
    "penalize_nl": ANY,
    "post_sampling_probs": OFF,
    "preserved_tokens": NONE,
    "repeat_last_n": (-1, 64),
    "response_fields": NONE,
    "return_progress": OFF,
    "return_tokens": OFF,
    "samplers": NULL,
    "slot_id": (-1,),
    "speculative.n_max": ANY,
    "speculative.n_min": ANY,
    "speculative.p_min": ANY,
    "t_max_predict_ms": (0, -1),
    "tfs_z": (1,),
    "timings_per_token": OFF,
    "top_n_sigma": (-1, 0),
    "xtc_probability": (0,),
    "xtc_threshold": ANY,
}


# Values of synonyms that have the same effect as leaving the field out: the default limit applies.
LEFT_OUT: Mapping[str, tuple[Any, ...]] = {"n_predict": (-1,), "num_predict": (-1,)}


@dataclass(frozen=True)
class OtherFields:
    """The fields that a route accepts in addition to its struct's fields.

    `neutral` maps a field to the values that are accepted; null is always accepted. `synonyms` maps another server's
    name for a field to the name in the struct. For some fields, `reasons` explains why no other value is accepted.
    """

    neutral: Mapping[str, Any]
    synonyms: Mapping[str, str]
    reasons: Mapping[str, str] | None = None

    def translate(self, body: dict[str, Any], kind: type[msgspec.Struct]) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the body with the field names used by the struct `kind`, and without neutral fields.

        Unknown fields are kept. Also returns, for each field, the name under which it was sent. Raises InvalidRequest
        if the value of a neutral field is not accepted, or if two names for the same field have different values.
        """
        own = {field.encode_name for field in msgspec.structs.fields(kind)}
        translated: dict[str, Any] = {}
        sources: dict[str, str] = {}  # field of the struct -> name under which it was sent
        for name, value in body.items():
            if name not in own and name in self.neutral:
                _check_neutral(name, value, self.neutral[name], (self.reasons or {}).get(name))
                continue
            field = name if name in own else self.synonyms.get(name, name)
            if field != name and value in LEFT_OUT.get(name, ()):
                value = None
            if field in sources and value is not None and translated[field] not in (None, value):
                raise InvalidRequest(
                    f"{sources[field]} is {_shown(translated[field])}, but {name} is {_shown(value)}, and both mean "
                    f"{field}; send only one of them",
                    param=name,
                )
            if translated.get(field) is None:
                translated[field] = value
                sources[field] = name
        return translated, sources


def _check_neutral(name: str, value: Any, neutral: Any, reason: str | None) -> None:
    if value is None or neutral is ANY or value in neutral:
        return
    shown = " or ".join(_shown(allowed) for allowed in (None, *neutral))
    why = f", because {reason}" if reason else ""
    message = f"{name} is not supported{why}; leave it out, or send {shown}"
    raise InvalidRequest(message, code="unknown_field", param=name)


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:60]


GENERATION = {
    "max_new_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "repeat_penalty": "repetition_penalty",
    "stop_sequences": "stop",
}
COMPLETIONS = OtherFields(
    {**OPENAI, **VLLM, **VLLM_SAMPLING, **LLAMA_CPP}, {**GENERATION, "max_completion_tokens": "max_tokens"}
)
CHAT = OtherFields(
    {**OPENAI_CHAT, **VLLM, **VLLM_SAMPLING, **VLLM_CHAT, **LLAMA_CPP, "best_of": (1,), "suffix": ()}, GENERATION
)
RESPONSES = OtherFields(
    {**OPENAI_RESPONSES, **VLLM},
    {},
    dict.fromkeys(("background", "conversation", "previous_response_id", "prompt", "store"), NOT_STORED),
)
EMBEDDINGS = OtherFields(
    {
        **OPENAI,
        **VLLM,
        "embed_dtype": ("float32",),
        "embedding_type": ("float",),
        "endianness": ("native", "little"),
        "input_type": NULL,
        "late_chunking": OFF,
        "normalize": (True,),
        "output_dtype": ("float",),
        "prompt_name": NULL,
        "task": NULL,
    },
    {},
)
CLASSIFICATION = OtherFields({**OPENAI, **VLLM, "raw_scores": OFF}, {"activation": "use_activation"})
MODERATIONS = OtherFields({**OPENAI, **VLLM}, {})
DECISIONS = OtherFields({**OPENAI, "prompt_cache_options": ANY}, {})
SYSTEM_ONE = OtherFields({"assets": NONE, "keep_alive": ANY, "stream": OFF}, {})
