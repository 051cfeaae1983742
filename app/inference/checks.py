"""Checks that a version can answer a query. A check that fails raises InvalidRequest."""

from __future__ import annotations

import msgspec

from app.errors import InvalidRequest
from app.inference.versions import ResolvedVersion, VersionRecord
from app.tokenization.definition import FILE
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire
from models.parameters import body_width


def check_scores(version: ResolvedVersion) -> None:
    """Check that the version computes scores, rather than text or only embeddings."""
    if version.config.task == "generation":
        raise InvalidRequest(
            f"{version.ref} generates text; classification requires a version with labels",
            code="wrong_task",
            param="model",
        )
    if version.config.task == "embedding":
        raise InvalidRequest(
            f"{version.ref} computes embeddings only; classification requires a version with labels",
            code="wrong_task",
            param="model",
        )


def check_vectors(dimensions: int, version: ResolvedVersion) -> None:
    """Check that the version computes vectors with at least `dimensions` components."""
    if version.config.architecture == "linear":
        raise InvalidRequest(
            f"{version.ref} is a linear model, which has no embeddings; use a version with another architecture",
            code="wrong_task",
            param="model",
        )
    width = body_width(version.config)
    if dimensions > width:
        raise InvalidRequest(
            f"dimensions is {dimensions}, but the vectors of {version.ref} have {width} dimensions; request {width} or "
            "fewer",
            param="dimensions",
        )


def check_same_tokenizer(version: VersionRecord, owner: VersionRecord, field: str) -> None:
    """Check that `owner` and `version` have the same tokenizer; `field` is the request field that names `owner`."""
    definition = version.files.get(FILE)
    if definition is None or owner.files.get(FILE) != definition:
        raise InvalidRequest(
            f"{field} is {owner.ref}, which uses a different tokenizer from {version.ref}; send text, or token ids "
            f"produced by the tokenizer of {version.ref}",
            code="wrong_tokenizer",
            param=field,
        )


def tokenizer_of(version: ResolvedVersion) -> Tokenizer:
    """Check that the version generates text, and return its tokenizer."""
    if version.config.task != "generation" or version.tokenizer is None:
        raise InvalidRequest(
            f"{version.ref} is for {version.config.task}; generation requires a language model",
            code="wrong_task",
            param="model",
        )
    return version.tokenizer


def filled(
    params: wire.SamplingParams, prompts: list[list[int]], version: ResolvedVersion, most: int | None = None
) -> wire.SamplingParams:
    """Return the parameters with the largest `max_tokens` that fits into the context after the longest prompt.

    If `most` is given, `max_tokens` is at most `most`, but never less than 1 or `min_tokens`. If the network has no
    maximum sequence length, the context length is the upper limit.
    """
    limit = version.config.position_limit
    room = version.config.context_length if limit is None else limit - max(map(len, prompts))
    room = room if most is None else min(room, most)
    return msgspec.structs.replace(params, max_tokens=max(1, params.min_tokens, room))


def check_room(prompts: list[list[int]], max_tokens: int, version: ResolvedVersion, field: str = "max_tokens") -> None:
    """Check that each prompt and its continuation fit into the context, unless the network's context is unlimited.

    `field` is the request field that limits the number of tokens.
    """
    longest, limit = max(map(len, prompts)), version.config.position_limit
    if limit is not None and longest + max_tokens > limit:
        room = limit - longest
        fix = f"set {field} to at most {room}, or shorten the prompt" if room > 0 else "shorten the prompt"
        raise InvalidRequest(
            f"the prompt has {longest} tokens and {field} is {max_tokens}, but {version.ref} accepts {limit} tokens "
            f"in total; {fix}",
            code="context_length_exceeded",
            param=field,
        )


def check_ids(params: wire.SamplingParams, version: ResolvedVersion) -> None:
    """Check that the token ids in `logit_bias` and `stop_token_ids` are in the vocabulary."""
    size = version.config.vocab_size
    for name, ids in (("logit_bias", params.logit_bias), ("stop_token_ids", params.stop_token_ids)):
        if ids and not 0 <= max(ids) < size:
            message = f"{name} contains token id {max(ids)}; the token ids of {version.ref} are 0 to {size - 1}"
            raise InvalidRequest(message, param=name)
