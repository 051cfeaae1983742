"""Converts generated pieces to OpenAI's choices, for a complete reply or the chunks of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.api.http.sse import frame, json_line
from app.api.openai.completions_schemas import (
    CompletionChoice,
    CompletionReply,
    CompletionRequest,
    CompletionUsage,
    Logprobs,
)
from app.inference.generation import GenerationRequest, Piece
from app.tokenization.stream import Offsets
from app.tokenization.tokenizer import Tokenizer
from app.wire import engine as wire

MIDDLE = b',"logprobs":null,"finish_reason":null,"stop_reason":null}],"usage":null}\n\n'


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """The fields shared by all chunks of a reply, and the request."""

    id: str
    created: int
    model: str
    body: CompletionRequest


def usage_of(generation: GenerationRequest) -> CompletionUsage:
    """A generation's token counts so far."""
    prompt, completion = generation.prompt_tokens, generation.generated_tokens
    return CompletionUsage(prompt, completion, prompt + completion, {"cached_tokens": generation.cached_tokens})


def names_of(ids: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """Return a distinct name for each token: its text, `bytes:…` for invalid UTF-8, or `token_id:5` for a duplicate."""
    ids_by_name: dict[str, int] = {}
    names = []
    for id_ in ids:
        name = tokenizer.token_name(id_)
        if ids_by_name.setdefault(name, id_) != id_:
            name = f"token_id:{id_}"
        names.append(name)
    return names


class LogprobsWriter:
    """Reports one choice's log-probabilities piece by piece, with text offsets that continue across pieces.

    `alternatives` is the number of most likely tokens to report at each position; None disables the report.
    """

    def __init__(self, tokenizer: Tokenizer, alternatives: int | None) -> None:
        self._tokenizer, self._alternatives = tokenizer, alternatives
        self._offsets = Offsets(tokenizer)

    def logprobs(self, prompt: Sequence[wire.TokenLogprob], entries: Sequence[wire.TokenLogprob]) -> Logprobs | None:
        """Report the tokens of an echoed prompt and then those of a piece.

        Offsets count characters from the start of the choice. Returns None if there is nothing to report.
        """
        if self._alternatives is None or not (prompt or entries):
            return None
        offsets = [self._offsets.push(entry.id) for entry in prompt]
        if prompt:
            self._offsets.end()
        offsets += [self._offsets.push(entry.id) for entry in entries]
        tokens = [*prompt, *entries]
        return Logprobs(
            [self._tokenizer.token_name(token.id) for token in tokens],
            [token.logprob for token in tokens],
            [self._top(token) for token in tokens],
            offsets,
        )

    def _top(self, entry: wire.TokenLogprob) -> dict[str, float] | None:
        """The log-probabilities of the most likely tokens and the chosen token, by name, in descending order."""
        if entry.logprob is None:
            return None
        pairs = dict(zip(entry.top_ids[: self._alternatives], entry.top_logprobs, strict=False))
        pairs = {entry.id: entry.logprob} | pairs  # the chosen token is first, so that `names_of` names it by its text
        named = zip(names_of(list(pairs), self._tokenizer), pairs.values(), strict=True)
        return dict(sorted(named, key=lambda item: -item[1]))


def prompt_report(entries: Sequence[wire.TokenLogprob], tokenizer: Tokenizer, most: int) -> list[dict[str, Any] | None]:
    """vLLM's `prompt_logprobs`: the log-probability, rank and text of tokens at each position, by token id.

    `most` is the number of most likely tokens to report; the prompt's own token is always reported. The first token has
    no log-probability, because no token precedes it.
    """
    report: list[dict[str, Any] | None] = []
    for entry in entries:
        if entry.logprob is None:
            report.append(None)
            continue
        ranked = zip(entry.top_ids[:most], entry.top_logprobs, strict=False)
        tokens = {i: (value, rank) for rank, (i, value) in enumerate(ranked, start=1)}
        tokens.setdefault(entry.id, (entry.logprob, entry.rank))
        report.append(
            {
                str(i): {"logprob": value, "rank": rank, "decoded_token": tokenizer.token_name(i)}
                for i, (value, rank) in tokens.items()
            }
        )
    return report


# --- whole replies ----------------------------------------------------------------------------------------------


def assemble(pieces: Sequence[Piece], generation: GenerationRequest, body: CompletionRequest) -> list[CompletionChoice]:
    """Return the choices of a complete reply: for each prompt, the `n` most likely of its `best_of` continuations."""
    n, best_of = body.n or 1, body.best_of or body.n or 1
    collected: list[list[Piece]] = [[] for _ in generation.choices]
    for piece in pieces:
        collected[piece.index].append(piece)
    chosen: list[int] = []
    for start in range(0, len(collected), best_of):
        group = list(range(start, start + best_of))
        if best_of > n:
            group.sort(key=lambda i: _likelihood(collected[i], generation.choices[i].stop_logprob), reverse=True)
        chosen += group[:n]
    return [
        _choice(index, generation.prompts[i // best_of], collected[i], generation, body)
        for index, i in enumerate(chosen)
    ]


def _likelihood(pieces: list[Piece], stop_logprob: float | None) -> float:
    """The mean log-probability of a continuation's tokens, including the token that ended it."""
    values = [entry.logprob or 0.0 for piece in pieces for entry in piece.logprobs]
    values += [] if stop_logprob is None else [stop_logprob]
    return sum(values) / max(1, len(values))


def _choice(
    index: int, prompt: list[int], pieces: list[Piece], generation: GenerationRequest, body: CompletionRequest
) -> CompletionChoice:
    tokenizer = generation.version.tokenizer
    assert tokenizer is not None
    before = [entry for piece in pieces for entry in piece.prompt_logprobs]
    entries = [entry for piece in pieces for entry in piece.logprobs]
    last = pieces[-1]
    return CompletionChoice(
        index,
        (tokenizer.decode(prompt) if body.echo else "") + "".join(piece.text for piece in pieces),
        LogprobsWriter(tokenizer, body.logprobs).logprobs(before if body.echo else (), entries),
        last.finish_reason,  # type: ignore[arg-type]
        last.stop_reason,
        None if body.prompt_logprobs is None else prompt_report(before, tokenizer, body.prompt_logprobs),
        [i for piece in pieces for i in piece.ids] if body.return_token_ids else None,
        prompt if body.return_token_ids else None,
    )


# --- streams ----------------------------------------------------------------------------------------------------


class Framer:
    """Creates the chunks of a stream.

    Most chunks contain only text. Such chunks are assembled from a head and a tail that are encoded in advance, which
    is much faster than encoding a struct for every token.
    """

    def __init__(self, head: ReplyHead, generation: GenerationRequest) -> None:
        assert generation.version.tokenizer is not None
        self._head, self._generation = head, generation
        self._tokenizer = generation.version.tokenizer
        self._writers = [LogprobsWriter(self._tokenizer, head.body.logprobs) for _ in generation.choices]
        self._begun: set[int] = set()  # the choices whose first chunk has been created
        whole = json_line(
            {
                "id": head.id,
                "object": "text_completion",
                "created": head.created,
                "model": head.model,
                "system_fingerprint": None,
                "choices": [],
            }
        )
        start = b"data: " + whole[:-2]  # without the closing brackets of the empty list and the object
        self._starts = [start + b'{"index":%d,"text":' % i for i in range(len(generation.choices))]
        options = head.body.stream_options
        self._usage_at_end = options is not None and options.include_usage
        self._count = options is not None and options.include_usage and options.continuous_usage_stats
        self._plain = head.body.logprobs is None and not head.body.return_token_ids and not self._count

    def opening(self) -> Iterator[bytes]:
        """Yield one chunk for each choice, with its prompt, if `echo` is set.

        With `logprobs`, the chunk for a choice's first piece contains the prompt instead.
        """
        if not self._head.body.echo or self._head.body.logprobs is not None:
            return
        for i in range(len(self._generation.choices)):
            text = self._tokenizer.decode(self._prompt(i))
            yield self._text(i, text) if self._plain else self._full(Piece(i, text))

    def frame(self, piece: Piece) -> bytes | None:
        """Return the chunk for a piece, or None if the piece has no content to send."""
        if self._plain and piece.finish_reason is None and not piece.prompt_logprobs:
            return self._text(piece.index, piece.text) if piece.text else None
        return self._full(piece)

    def closing(self) -> Iterator[bytes]:
        """Yield the final chunk, which contains the token counts, if the client requested it."""
        if self._usage_at_end:
            yield self._chunk([], usage_of(self._generation))

    def _prompt(self, index: int) -> list[int]:
        return self._generation.prompts[index // (self._head.body.n or 1)]

    def _text(self, index: int, text: str) -> bytes:
        return self._starts[index] + json_line(text) + MIDDLE

    def _full(self, piece: Piece) -> bytes:
        body, prompt = self._head.body, self._prompt(piece.index)
        echoed = piece.prompt_logprobs if body.echo and body.logprobs is not None else ()
        report = None
        if body.prompt_logprobs is not None and piece.prompt_logprobs:
            report = prompt_report(piece.prompt_logprobs, self._tokenizer, body.prompt_logprobs)
        first = piece.index not in self._begun
        self._begun.add(piece.index)
        choice = CompletionChoice(
            piece.index,
            (self._tokenizer.decode(prompt) if echoed else "") + piece.text,
            self._writers[piece.index].logprobs(echoed, piece.logprobs),
            piece.finish_reason,  # type: ignore[arg-type]
            piece.stop_reason,
            report,
            list(piece.ids) if body.return_token_ids else None,
            prompt if body.return_token_ids and first else None,
        )
        usage = usage_of(self._generation) if self._count else None
        return self._chunk([choice], usage)

    def _chunk(self, choices: list[CompletionChoice], usage: CompletionUsage | None) -> bytes:
        return frame(CompletionReply(self._head.id, self._head.created, self._head.model, choices, usage))
