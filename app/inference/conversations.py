"""Encodes a conversation as one input: messages in the version's chat format, with end tokens after answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.errors import InvalidRequest
from app.inference.versions import ResolvedVersion
from app.tokenization.chat import TEMPLATE, continued
from app.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation whose next answer is to be generated. Each message has a `role` and a `content`.

    With `fallback`, a version without a chat template reads the conversation in this service's chat format.
    """

    messages: Sequence[Mapping[str, str]]
    fallback: bool = False

    def __len__(self) -> int:
        """The number of characters in all messages, including roles and separators."""
        return sum(len(message["role"]) + len(message["content"]) + 3 for message in self.messages)

    def encode(self, version: ResolvedVersion, tokenizer: Tokenizer) -> list[int]:
        """Return the prompt's token ids.

        As in training, each text is encoded separately, and each answer has an end token.

        Raises InvalidRequest if the version has no chat template and `fallback` is not set, or if its chat template was
        not written by this service.
        """
        self._check(version)
        pairs, prompt = continued(self.messages)
        encoded = iter(tokenizer.encode_batch([*(text for pair in pairs for text in pair), prompt]))
        end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
        ids: list[int] = []
        for _ in pairs:
            ids += [*next(encoded), *next(encoded), *end]
        return ids + next(encoded)

    def _check(self, version: ResolvedVersion) -> None:
        template = version.assets.raw_config.get("chat_template")
        if template is None and not self.fallback:
            raise InvalidRequest(
                f"{version.ref} has no chat template, because it was not trained on conversations; send the text as "
                "`prompt` to POST /v1/completions. With OSTINATO_CHAT_FALLBACK=1, every language model reads messages "
                "as lines such as `user: …`",
                code="no_chat_template",
                param="model",
            )
        if template not in (None, TEMPLATE):
            raise InvalidRequest(
                f"{version.ref} has its own chat template, but only the chat template of versions that this service "
                "trained is supported; render the conversation, and send the text as `prompt` to POST /v1/completions",
                code="unsupported_chat_template",
                param="model",
            )
