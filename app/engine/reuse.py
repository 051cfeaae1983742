"""Starts a version's sequences from states in the prefix cache, and saves states for later sequences."""

from __future__ import annotations

import logging
from array import array

from app.engine.prefixes import Prefix, Prefixes
from app.engine.reply import Counters
from app.engine.runner import Runner
from app.engine.sequence import Sequence
from models.snapshot import Snapshot

logger = logging.getLogger(__name__)
LEAST = 16  # fewer tokens are not worth a copy of their state


class PrefixReuse:
    """One decoder's access to the prefix cache. Only sequences with the same principal and `cache_salt` share states.

    The states after a prompt and after its continuation are saved, because the next prompt of a conversation begins
    with this prompt and this continuation. A recurrent network's state cannot be truncated. Therefore, reading pauses
    where a prompt diverges from an earlier one, and the state is saved for all later prompts with this prefix.

    With a `step`, prompts are split at multiples of `step`, and only the states at these positions are saved and used.
    The remaining calls then have the same shapes as without a cache, so the result is bit-identical.
    """

    def __init__(
        self, prefixes: Prefixes[Snapshot], digest: str, runner: Runner, counters: Counters, step: int = 0,
        least: int = LEAST,
    ) -> None:  # fmt: skip
        self.prefixes, self.digest, self.runner, self.counters = prefixes, digest, runner, counters
        self.step, self.least = step, least
        self._divisible = runner.divisible

    def begin(self, sequence: Sequence) -> None:
        """Initialise an empty slot with the state after the prompt's longest cached prefix."""
        if sequence.params.prompt_logprobs is not None:
            return  # the logits after every prompt token are needed
        # The last token is always read, because the first logits follow it.
        most, tokens = len(sequence.prompt) - 1, array("i", sequence.prompt)
        prefix = self._find(sequence, tokens, most)
        if prefix.length >= self.least and self._resume(sequence, prefix):
            sequence.computed = sequence.cached = prefix.length
        if not self._divisible and not self.step and prefix.shared - sequence.cached >= self.least:
            sequence.pause = prefix.shared
        self.counters.add("prefix_cache_queries", len(sequence.prompt))
        self.counters.add("prefix_cache_hits", sequence.cached)

    def _find(self, sequence: Sequence, tokens: array[int], most: int) -> Prefix[Snapshot]:
        try:
            return self.prefixes.find(self._key(sequence), tokens, most, self._divisible, self.step or 1)
        except RuntimeError as error:  # too little memory for a copy
            logger.warning("the prefix cache could not be read: %s", type(error).__name__)
            return Prefix()

    def _resume(self, sequence: Sequence, prefix: Prefix[Snapshot]) -> bool:
        try:
            self.runner.resume(sequence.slot, prefix.segments, sequence.prompt[: prefix.length])
        except RuntimeError as error:  # too little memory for a copy: read the whole prompt instead
            logger.warning("a state could not be taken from the prefix cache: %s", type(error).__name__)
            self.runner.reset([sequence.slot])
            return False
        return True

    def read(self, sequence: Sequence) -> None:
        """Save the state after a prompt chunk if the chunk is the last one or the state is likely to be reused."""
        cut = sequence.computed % self.step == 0 if self.step else sequence.computed == sequence.pause
        if cut or not (self.step or sequence.remaining):
            self._save(sequence, sequence.prompt[: sequence.computed])

    def end(self, sequence: Sequence) -> None:
        """Save the state after the continuation, before the sequence leaves its slot."""
        # With a `step`, save nothing: decode steps and prompt chunks differ in shape, so the last bits would differ.
        if sequence.slot >= 0 and sequence.output and not self.step:
            text = sequence.prompt + sequence.output
            self._save(sequence, text[: self.runner.state.positions[sequence.slot]])

    def _save(self, sequence: Sequence, tokens: list[int]) -> None:
        if len(tokens) < self.least:
            return

        def take(start: int) -> Snapshot:
            return self.runner.snapshot(sequence.slot, start)

        evictions = self.prefixes.evictions
        try:
            self.prefixes.insert(self._key(sequence), array("i", tokens), take, self._divisible)
        except RuntimeError as error:  # too little memory for a copy: the sequence itself is not affected
            logger.warning("a state could not be added to the prefix cache: %s", type(error).__name__)
        self.counters.add("prefix_cache_evictions", self.prefixes.evictions - evictions)

    def _key(self, sequence: Sequence) -> tuple[str, str, str]:
        return sequence.member.digest or self.digest, sequence.principal, sequence.cache_salt
