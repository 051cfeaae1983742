"""Request fields of other servers: fields that have no effect here, and other names for this service's fields.

Clients of vLLM, llama.cpp and OpenAI send such fields with their default values. Each field is listed here with the
values that are accepted. Any other value requests an unsupported feature, so the request is rejected
with an error that names the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.errors import InvalidRequest

ANY = object()  # the field has no effect, so any value is accepted
OFF = (False,)
NONE: tuple[Any, ...] = ([], {}, "")

OPENAI: Mapping[str, Any] = {
    "metadata": ANY,
    "prompt_cache_key": ANY,
    "prompt_cache_retention": ANY,
    "safety_identifier": ANY,
    "service_tier": ("auto", "default"),
    "store": OFF,
}
# Fields of OpenAI's conversations. Tools, audio and images are not supported, so only their absence is neutral.
OPENAI_CHAT: Mapping[str, Any] = {
    **OPENAI,
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": NONE,
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": ANY,
    "prediction": (),
    "prompt_cache_options": ANY,
    "reasoning_effort": ANY,
    "service_tier": ANY,
    "store": ANY,
    "tool_choice": ("none", "auto"),
    "tools": NONE,
    "verbosity": ANY,
    "web_search_options": (),
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
NOT_STORED = "responses are not stored: send the whole conversation in input"
VLLM: Mapping[str, Any] = {
    "cache_salt": ANY,
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
    "dynatemp_exponent": ANY,
    "dynatemp_range": (0,),
    "grammar": NONE,
    "id_slot": (-1,),
    "json_schema": NONE,
    "lora": NONE,
    "min_keep": (0, 1),
    "mirostat": (0,),
    "mirostat_eta": ANY,
    "mirostat_tau": ANY,
    "n_keep": (0,),
    "n_probs": (0,),
    "post_sampling_probs": OFF,
    "repeat_last_n": (-1,),
    "response_fields": NONE,
    "return_progress": OFF,
    "t_max_predict_ms": (0, -1),
    "tfs_z": (1,),
    "timings_per_token": OFF,
    "xtc_probability": (0,),
    "xtc_threshold": ANY,
}


@dataclass(frozen=True)
class OtherFields:
    """The fields that a route accepts in addition to those of its struct.

    `neutral` maps a field to the values that are accepted; null is always accepted. `synonyms` maps another server's
    name for a field to the name in the struct. `reasons` says for some fields why no other value is accepted, and what
    to do instead.
    """

    neutral: Mapping[str, Any]
    synonyms: Mapping[str, str]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def translate(self, body: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
        """Return the body with the field names of the struct `kind`. Fields that are not listed here are kept.

        Raises InvalidRequest for a value that is not neutral, or if two names of the same field have different values.
        """
        own = {info.encode_name for info in msgspec.structs.fields(kind)}
        translated: dict[str, Any] = {}
        sources: dict[str, str] = {}  # field of the struct -> name under which it was sent
        for name, value in body.items():
            if name not in own and name in self.neutral:
                _check_neutral(name, value, self.neutral[name], self.reasons.get(name, ""))
                continue
            target = name if name in own else self.synonyms.get(name, name)
            if target in sources and value is not None and translated[target] not in (None, value):
                raise InvalidRequest(
                    f"{sources[target]} is {_shown(translated[target])}, but {name} is {_shown(value)}, and both mean "
                    f"{target}; send only one of them",
                    param=name,
                )
            if translated.get(target) is None:
                translated[target] = value
            sources.setdefault(target, name)
        return translated


def _check_neutral(name: str, value: Any, neutral: Any, reason: str) -> None:
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
EMBEDDINGS = OtherFields({**OPENAI, **VLLM, "embed_dtype": ("float32",), "normalize": (True,)}, {})
CLASSIFICATION = OtherFields({**OPENAI, **VLLM, "raw_scores": OFF}, {"activation": "use_activation"})
