"""Converts text to token ids and back, with tokenizer.json files from this service or from other programs.

User text is never encoded as the id of a special token. For example, `<eos>` is encoded as five characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import tokenizers

from app import strict_json
from app.errors import CheckpointInvalid, InvalidRequest
from app.tokenization import bounds, faults
from app.tokenization.definition import FILE, Definition
from app.tokenization.vocabulary import (
    UNKNOWN,
    find_specials,
    is_plain,
    kind_of,
    longest_token,
    named_end,
    token_bytes,
    unknown_words,
)
from app.tokenization.words import SHORT, WordTokens, splits_into_words
from app.wording import quantity

SLICE = 2**15  # characters encoded per step; a step takes milliseconds, in which other threads wait for the GIL
REMEMBERED = 2**14  # once this many characters are cached, only those with their own token are added


class Tokenizer:
    """A tokenizer loaded from a tokenizer.json. Thread-safe.

    - `eos_id`, `sep_id`: None if the tokenizer has no such token; tokenizers trained here always have both.
    - `named_end`: the token of `eos_id` if a configuration names it; None if it was recognised by its usual name.
    - `pad_id`: 0 if the tokenizer has no such token. Padding is recognised by the lengths of texts, never by this id.
    - `quick`: whether encoding a short text takes only microseconds, as with all tokenizers trained here.
    - `longest`: the maximum number of characters that one token can represent; None if unknown.
    - `blank_id`: the id of the unknown token, otherwise of the padding token, otherwise None. Used in place of dropped
      tokens.
    - `special_ids`: the ids that the encoding of user text never contains. `hidden_ids`: the ids that decode to an
      empty string.
    - `template`: whether the tokenizer adds special tokens around each text.
    """

    def __init__(self, definition: str, configs: tuple[Mapping[str, Any], ...] = (), *, bounded: bool = False) -> None:
        """`definition` is the content of a tokenizer.json; `configs` are JSON objects that may name special tokens.

        If `bounded` is true, texts are checked with `bounds.groups`, unless the tokenizer is `quick`.

        Raises CheckpointInvalid.
        """
        try:
            self._native = tokenizers.Tokenizer.from_str(definition)
            parsed: dict[str, Any] = strict_json.parse(definition.encode(), values=strict_json.VOCABULARY_VALUES)
        except BaseException as error:  # the library raises plain Exception; its panics derive from BaseException
            if not isinstance(error, Exception) and not faults.panicked(error):
                raise
            raise CheckpointInvalid(f"{FILE} is not a valid tokenizer: {error}", param=FILE) from None
        self._definition = definition
        self._native.no_truncation()
        self._native.no_padding()
        self._native.encode_special_tokens = True  # the name of a special token in a text is encoded as ordinary text
        self._vocabulary = self._native.get_vocab(with_added_tokens=True)
        self._specials = find_specials(parsed, self._vocabulary, configs)
        self.kind = kind_of(parsed)
        self._unknown_words = unknown_words(parsed, self._vocabulary)
        self.token_bytes = token_bytes(parsed, self._vocabulary)
        self.vocab_size = max(self._vocabulary.values(), default=-1) + 1
        self.eos_id = self._specials.eos
        self.named_end = named_end(self._vocabulary, configs)
        self.sep_id = self._specials.sep
        self.pad_id = self._specials.pad or 0
        self.blank_id = self._specials.pad if self._specials.unk is None else self._specials.unk
        self.hidden_ids = self._specials.hidden
        self.special_ids = sorted(self._specials.forbidden)
        self._exact = self.token_bytes is not None and not parsed.get("post_processor")
        self.quick = self._exact and is_plain(parsed)
        by_word = self.quick and splits_into_words(parsed)
        self._words = WordTokens(partial(self._encode_native, special=False)) if by_word else None
        self._bounded = bounded and not self.quick
        self.longest = longest_token(parsed, self.token_bytes, self._specials.hidden) if self.quick else None
        self.template = bool(parsed.get("post_processor")) and self._native.num_special_tokens_to_add(True) > 0

    @classmethod
    def load(cls, path: Path | str, *, bounded: bool = False) -> Self:
        """Load a tokenizer.json, given its path or directory, and the files next to it that name special tokens.

        Raises CheckpointInvalid.
        """
        definition = Definition.read(path)
        return cls(definition.text, definition.configs, bounded=bounded)

    def save(self, path: Path | str) -> None:
        """Write the tokenizer.json to `path`, which may be a file or an existing directory."""
        path = Path(path)
        (path / FILE if path.is_dir() else path).write_text(self._definition, encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        """Return the ids of one text. Raises the errors of `encode_batch`."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """Encode each text. Raises InvalidRequest (`invalid_text`) for a text that is not valid Unicode.

        If `special` is true, the special tokens of the tokenizer's template, if any, are added around each text.
        """
        if self._characters is not None:
            return [self._encode_characters(text, self._characters) for text in texts]
        if self._words is not None and sum(map(len, texts)) <= SHORT:
            return self._words.encode_batch(texts)
        return self._encode_native(texts, special)

    def encode_pair(self, text: str, text_pair: str, special: bool = True) -> list[int]:
        """Encode two texts as one sequence, with the tokenizer's template or, if it has none, with a separator."""
        if self.template:
            return self._encode_native([(text, text_pair)], special)[0]
        if self.sep_id is None:
            raise InvalidRequest("this version's tokenizer has no separator, so it cannot encode a pair of texts")
        first, second = self.encode_batch([text, text_pair])
        return [*first, self.sep_id, *second]

    def token_types(self, text: str, text_pair: str) -> tuple[list[int], list[int]]:
        """Return the ids of a pair, and the type that the template assigns to each of them."""
        pair = self._encodings([(text, text_pair)], special=True)[0]
        return list(pair.ids), list(pair.type_ids)

    def encode_within(self, size: int, side: str, *texts: str) -> list[int]:
        """Encode a text or a pair, cut to at most `size` tokens including the whole template.

        `side` is the side at which the text is cut. In a pair, the longer text is cut first. Raises InvalidRequest if
        the template leaves no room for text.
        """
        parts = self._encodings(texts, special=False)
        room = size - self._native.num_special_tokens_to_add(len(texts) > 1)
        if room < len(texts):
            added = quantity(size - room, "special token")
            raise InvalidRequest(
                f"{size} tokens leave no room for text: this version's tokenizer adds {added}",
                param="truncate_prompt_tokens",
            )
        for left, part in zip(range(len(parts), 0, -1), sorted(parts, key=len), strict=True):
            part.truncate(room // left, direction=side)
            room -= len(part)
        whole = self._native.post_process(parts[0], *parts[1:])
        return self._without_specials(whole.ids, whole.special_tokens_mask)

    def decode(self, ids: Iterable[int]) -> str:
        """Decode ids to text, without special tokens. Invalid UTF-8 and unknown ids become U+FFFD.

        Raises InvalidRequest if the decoder of an imported tokenizer fails.
        """
        if self.token_bytes is not None:
            return self.join(ids).decode("utf-8", "replace")
        try:
            return str(self._native.decode(list(ids), skip_special_tokens=True))
        except BaseException as error:
            if not faults.panicked(error):
                raise
            raise InvalidRequest("this version's tokenizer cannot decode the tokens", code="invalid_text") from None

    def join(self, ids: Iterable[int]) -> bytes:
        """Return the concatenated bytes of the tokens. Requires that `token_bytes` is not None."""
        shown = self._shown_bytes
        size = len(shown)
        return b"".join([shown[i] if 0 <= i < size else UNKNOWN for i in ids])

    def token_text(self, id_: int) -> str:
        """Return one token as text. A special token is shown as its name, and part of a character as U+FFFD."""
        name = self._native.id_to_token(id_) if 0 <= id_ < self.vocab_size else None
        if name is None:
            return UNKNOWN.decode()
        if id_ in self._specials.hidden or self.token_bytes is None:
            return name
        return self.token_bytes[id_].decode("utf-8", "replace")

    def token_name(self, id_: int) -> str:
        """Return one token as text. Part of a character is shown as its bytes, such as `bytes:\\xe4\\xb8`."""
        if self.token_bytes is not None and 0 <= id_ < self.vocab_size and id_ not in self._specials.hidden:
            piece = self.token_bytes[id_]
            try:
                return piece.decode()
            except UnicodeDecodeError:
                return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
        return self.token_text(id_)

    @cached_property
    def _shown_bytes(self) -> list[bytes]:
        assert self.token_bytes is not None
        hidden = self._specials.hidden
        return [b"" if i in hidden else piece for i, piece in enumerate(self.token_bytes)]

    @cached_property
    def _characters(self) -> Mapping[str, tuple[int, ...]] | None:
        """The ids of each character, or None if characters are not encoded separately.

        Encoding a text with this table is faster than with the library.
        """
        if self.kind not in ("char", "byte") or not self._exact:
            return None
        assert self.token_bytes is not None
        hidden = self._specials.hidden
        ids = {piece: i for i, piece in enumerate(self.token_bytes) if i not in hidden}
        single = [ids.get(bytes([byte])) for byte in range(256)]
        if self.kind == "char":  # the token for a byte differs from the token for the ASCII character
            single = [self._vocabulary.get(f"<0x{byte:02X}>") for byte in range(256)]
        if None in single:
            return None
        return _Characters(self._vocabulary if self.kind == "char" else {}, [i for i in single if i is not None])

    def _encode_characters(self, text: str, table: Mapping[str, tuple[int, ...]]) -> list[int]:
        try:
            if len(text) <= SLICE:
                return list(chain.from_iterable(map(table.__getitem__, text)))
            ids: list[int] = []
            for start in range(0, len(text), SLICE):
                ids += chain.from_iterable(map(table.__getitem__, text[start : start + SLICE]))
            return ids
        except UnicodeEncodeError as error:
            raise faults.surrogate(error) from None

    def _encode_native(self, inputs: Sequence[str] | Sequence[tuple[str, str]], special: bool) -> list[list[int]]:
        encodings = self._encodings(inputs, special)
        if self._exact:
            return [encoding.ids for encoding in encodings]
        return [self._without_specials(encoding.ids, encoding.special_tokens_mask) for encoding in encodings]

    def _encodings(self, inputs: Sequence[str] | Sequence[tuple[str, str]], special: bool) -> list[Any]:
        if self._bounded:
            return [encoding for group in bounds.groups(inputs) for encoding in self._encode_group(group, special)]
        return self._encode_group(inputs, special)

    def _encode_group(self, inputs: Sequence[str] | Sequence[tuple[str, str]], special: bool) -> list[Any]:
        def encode() -> list[Any]:
            if self._unknown_words != "skip":
                return self._native.encode_batch_fast(list(inputs), add_special_tokens=special)
            words = [tuple(map(self._split, item)) if isinstance(item, tuple) else self._split(item) for item in inputs]
            return self._native.encode_batch_fast(words, is_pretokenized=True, add_special_tokens=special)

        return self._guarded(encode, inputs)  # type: ignore[no-any-return]

    def _split(self, text: str, in_vocabulary: bool = True) -> list[str]:
        """Return the words in a text that have a token or, if `in_vocabulary` is False, the words without a token."""
        normalizer, splitter = self._native.normalizer, self._native.pre_tokenizer
        text = text if normalizer is None else normalizer.normalize_str(text)
        words = [text] if splitter is None else [word for word, _ in splitter.pre_tokenize_str(text)]
        return [word for word in words if (word in self._vocabulary) == in_vocabulary]

    def _guarded(self, encode: Callable[[], Any], inputs: Sequence[str] | Sequence[tuple[str, str]]) -> Any:
        """Call `encode`, and convert errors caused by the text to InvalidRequest."""
        try:
            return encode()
        except (UnicodeEncodeError, TypeError) as error:
            cause = faults.find_surrogate(inputs)
            raise faults.surrogate(cause) if cause else error from None
        except BaseException as error:
            if self._unknown_words == "refuse" and isinstance(error, Exception):
                texts = chain.from_iterable((item,) if isinstance(item, str) else item for item in inputs)
                word = next(chain.from_iterable(self._split(text, in_vocabulary=False) for text in texts), "")
                message = f"{word[:60]!r} is not in this version's vocabulary, which has no token for unknown words"
                raise InvalidRequest(message, code="invalid_text") from None
            if not faults.panicked(error):
                raise
            raise InvalidRequest("this version's tokenizer cannot encode the text", code="invalid_text") from None

    def _without_specials(self, ids: list[int], from_template: list[int]) -> list[int]:
        """Replace special tokens that a word-level tokenizer produced because the text contains their names.

        They become the unknown token or, if the tokenizer has none, are dropped.
        """
        forbidden = self._specials.forbidden
        if forbidden.isdisjoint(ids):
            return ids
        unk = self._specials.unk
        marked = zip(ids, from_template, strict=True)
        kept = [i if template or i not in forbidden else unk for i, template in marked]
        return [i for i in kept if i is not None]


class _Characters(dict[str, tuple[int, ...]]):
    """Caches the ids of characters: all in the vocabulary, and others until `REMEMBERED` characters are cached."""

    def __init__(self, vocabulary: Mapping[str, int], byte_ids: list[int]) -> None:
        super().__init__()
        self._vocabulary, self._byte_ids = vocabulary, byte_ids

    def __missing__(self, character: str) -> tuple[int, ...]:
        token = self._vocabulary.get(character)
        ids = (token,) if token is not None else tuple(self._byte_ids[byte] for byte in character.encode())
        if token is not None or len(self) < REMEMBERED:
            self[character] = ids
        return ids
