"""Text to token ids and back. Knows the tokenizer.json format (also other people's files); knows no network.

Ids of special tokens never come out of a user's text, whatever it says: `<eos>` in a text is five characters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Self

import tokenizers

from app.errors import CheckpointInvalid, InvalidRequest
from app.tokenization.vocabulary import UNKNOWN, find_specials, kind_of, token_bytes

FILE = "tokenizer.json"
SLICE = 2**15  # characters of a long text that are read without a chance for other threads: some milliseconds
REMEMBERED = 2**14  # characters without a token of their own: more than any language writes with
CONFIGS = ("tokenizer_config.json", "special_tokens_map.json", "config.json")


class Tokenizer:
    """A tokenizer.json at work. Safe to use from several threads.

    `eos_id` and `sep_id` are None where another program's tokenizer has no such token (ours always do); `pad_id` is
    0 then, since padding is known by length and never by id. `quick`: a short text takes microseconds, whatever it
    says; so it is with those that we train ourselves. `longest`: the most characters that one token stands for, where
    that is known. `blank_id` stands for a token that is not to be seen: the unknown one, else padding, else None.
    `special_ids` are no text, `hidden_ids` show nothing. `template`: whether it puts tokens around each text.
    """

    def __init__(self, definition: str, configs: tuple[Mapping[str, Any], ...] = ()) -> None:
        """`definition`: the text of a tokenizer.json; `configs`: further JSON objects that may name special tokens."""
        try:
            self._native = tokenizers.Tokenizer.from_str(definition)
            parsed: dict[str, Any] = json.loads(definition)
        except BaseException as error:  # the library raises bare Exception, and its panics are not even that
            if not isinstance(error, Exception) and not _panicked(error):
                raise
            raise CheckpointInvalid(f"{FILE} is not a tokenizer: {error}", param=FILE) from None
        self._definition = definition
        self._native.no_truncation()
        self._native.no_padding()
        self._native.encode_special_tokens = True  # a special token's name in a text is ordinary text
        self._vocabulary = self._native.get_vocab(with_added_tokens=True)
        self._specials = find_specials(parsed, self._vocabulary, configs)
        self.kind = kind_of(parsed)
        self.token_bytes = token_bytes(parsed, self._vocabulary)
        self.vocab_size = max(self._vocabulary.values(), default=-1) + 1
        self.eos_id = self._specials.eos
        self.sep_id = self._specials.sep
        self.pad_id = self._specials.pad or 0
        self.blank_id = self._specials.pad if self._specials.unk is None else self._specials.unk
        self.hidden_ids = self._specials.hidden
        self.special_ids = sorted(self._specials.forbidden)
        self._exact = self.token_bytes is not None and not parsed.get("post_processor")
        self.quick = self._exact and _plain(parsed)
        self.longest = _longest(parsed, self.token_bytes, self._specials.hidden) if self.quick else None
        self.template = bool(parsed.get("post_processor")) and self._native.num_special_tokens_to_add(True) > 0

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read `path`: a tokenizer.json, or the directory that holds it (and, maybe, files that name its tokens)."""
        path = Path(path)
        file = path / FILE if path.is_dir() else path
        try:
            definition = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointInvalid(f"{FILE} cannot be read: {type(error).__name__}", param=FILE) from None
        return cls(definition, tuple(_read_objects(file.parent)))

    def save(self, path: Path | str) -> None:
        """Write tokenizer.json to `path`, a file's name or a directory."""
        path = Path(path)
        (path / FILE if path.is_dir() else path).write_text(self._definition, encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """The ids of each text. Raises InvalidRequest (`invalid_text`) for a text that is no valid Unicode.

        `special`: whether the tokenizer's own template, where it has one, goes around a text.
        """
        if self._characters is not None:
            return [self._encode_characters(text, self._characters) for text in texts]
        return self._encode_native(texts, special)

    def encode_pair(self, text: str, text_pair: str, special: bool = True) -> list[int]:
        """Two texts as one sequence, with the separator between them (or in the tokenizer's own template)."""
        if self.template:
            return self._encode_native([(text, text_pair)], special)[0]
        if self.sep_id is None:
            raise InvalidRequest("this version's tokenizer has no separator, so it cannot take two texts")
        first, second = self.encode_batch([text, text_pair])
        return [*first, self.sep_id, *second]

    def encode_within(self, size: int, side: str, *texts: str) -> list[int]:
        """A text, or a pair, cut at the end `side` (of a pair the longer first) so that with the whole template it has
        `size` tokens or fewer. Raises InvalidRequest where the template alone has more."""
        parts = self._guarded(lambda: self._native.encode_batch_fast(list(texts), add_special_tokens=False), texts)
        room = size - self._native.num_special_tokens_to_add(len(texts) > 1)
        if room < len(texts):
            raise InvalidRequest(
                f"{size} tokens leave no room for a text: this version's tokenizer adds {size - room} of its own",
                param="truncate_prompt_tokens",
            )
        for left, part in zip(range(len(parts), 0, -1), sorted(parts, key=len), strict=True):
            part.truncate(room // left, direction=side)
            room -= len(part)
        whole = self._native.post_process(parts[0], *parts[1:])
        return self._without_specials(whole.ids, whole.special_tokens_mask)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; special tokens give nothing, broken UTF-8 and unknown ids give U+FFFD."""
        if self.token_bytes is None:
            return str(self._native.decode(list(ids), skip_special_tokens=True))
        return self.join(ids).decode("utf-8", "replace")

    def join(self, ids: Iterable[int]) -> bytes:
        """The bytes of some ids (only where `token_bytes` is known)."""
        shown = self._shown_bytes
        size = len(shown)
        return b"".join([shown[i] if 0 <= i < size else UNKNOWN for i in ids])

    def token_text(self, id_: int) -> str:
        """One token for people, alone: special tokens by name, part of a character as U+FFFD."""
        name = self._native.id_to_token(id_) if 0 <= id_ < self.vocab_size else None
        if name is None:
            return UNKNOWN.decode()
        if id_ in self._specials.hidden or self.token_bytes is None:
            return name
        return self.token_bytes[id_].decode("utf-8", "replace")

    def token_name(self, id_: int) -> str:
        """The same, but what is no text by itself is named by its bytes: `bytes:\\xe4\\xb8`."""
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
        """Character to ids, for kinds in which characters stand alone: far leaner than the library on long texts."""
        if self.kind not in ("char", "byte") or not self._exact:
            return None
        assert self.token_bytes is not None
        hidden = self._specials.hidden
        ids = {piece: i for i, piece in enumerate(self.token_bytes) if i not in hidden}
        single = [ids.get(bytes([byte])) for byte in range(256)]
        if self.kind == "char":  # ASCII characters have tokens beside those of their bytes
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
            raise _surrogate(error) from None

    def _encode_native(self, inputs: Sequence[str] | Sequence[tuple[str, str]], special: bool) -> list[list[int]]:
        encodings = self._guarded(
            lambda: self._native.encode_batch_fast(list(inputs), add_special_tokens=special), inputs
        )
        if self._exact:
            return [encoding.ids for encoding in encodings]
        return [self._without_specials(encoding.ids, encoding.special_tokens_mask) for encoding in encodings]

    def _guarded(self, encode: Callable[[], Any], inputs: Sequence[str] | Sequence[tuple[str, str]]) -> Any:
        """What `encode` gives; its faults as InvalidRequest."""
        try:
            return encode()
        except (UnicodeEncodeError, TypeError) as error:
            cause = _find_surrogate(inputs)
            raise _surrogate(cause) if cause else error from None
        except BaseException as error:
            if not _panicked(error):
                raise
            raise InvalidRequest("this version's tokenizer cannot read the text", code="invalid_text") from None

    def _without_specials(self, ids: list[int], from_template: list[int]) -> list[int]:
        """Replace special tokens that came out of the text itself (word-level files look any word up)."""
        forbidden = self._specials.forbidden
        if forbidden.isdisjoint(ids):
            return ids
        unk = self._specials.unk
        marked = zip(ids, from_template, strict=True)
        kept = [i if template or i not in forbidden else unk for i, template in marked]
        return [i for i in kept if i is not None]


class _Characters(dict[str, tuple[int, ...]]):
    """Ids by character, filled as characters are met; beyond those of the vocabulary up to `REMEMBERED`, for what
    strangers send must not grow it for ever."""

    def __init__(self, vocabulary: Mapping[str, int], byte_ids: list[int]) -> None:
        super().__init__()
        self._vocabulary, self._byte_ids = vocabulary, byte_ids

    def __missing__(self, character: str) -> tuple[int, ...]:
        known = self._vocabulary.get(character)
        ids = (known,) if known is not None else tuple(self._byte_ids[byte] for byte in character.encode())
        if known is not None or len(self) < REMEMBERED:
            self[character] = ids
        return ids


def _plain(definition: Mapping[str, Any]) -> bool:
    """Whether nothing is done to a text but byte-pair encoding, after the split that all byte-level files share."""
    split = (definition.get("pre_tokenizer") or {}).get("type")
    model = str((definition.get("model") or {}).get("type") or "BPE")
    return model == "BPE" and split in (None, "ByteLevel") and not definition.get("normalizer")


def _longest(definition: Mapping[str, Any], pieces: list[bytes] | None, hidden: frozenset[int]) -> int | None:
    """The bytes of the longest token that a text may become, where every byte of it ends up in some token."""
    shown = [piece for i, piece in enumerate(pieces or []) if i not in hidden]
    if definition["model"].get("fuse_unk") or len({piece for piece in shown if len(piece) == 1}) < 256:
        return None
    return max(map(len, shown))


def _read_objects(directory: Path) -> Iterable[Mapping[str, Any]]:
    for name in CONFIGS:
        try:
            value = json.loads((directory / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(value, dict):
            yield value


def _panicked(error: BaseException) -> bool:
    """Whether the library gave up within itself: such an error is no `Exception`, and has no name to import."""
    return type(error).__name__ == "PanicException"


def _find_surrogate(inputs: Iterable[str | tuple[str, str]]) -> UnicodeEncodeError | None:
    for item in inputs:
        for text in (item,) if isinstance(item, str) else item:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                return error
    return None


def _surrogate(error: UnicodeEncodeError) -> InvalidRequest:
    code = ord(error.object[error.start])
    return InvalidRequest(
        f"the text is no valid Unicode: it holds a lone surrogate, U+{code:04X}; send well-formed UTF-8",
        code="invalid_text",
    )
