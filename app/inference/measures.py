"""Records the metrics of an admitted request."""

from __future__ import annotations

import time

from app import telemetry as t
from app.wire import engine as wire


class Measures:
    """Counts one request and measures its durations from admission. Call `close` exactly once."""

    def __init__(self, model: str, prompt_tokens: int) -> None:
        self.model = model
        self.started = time.monotonic()
        t.prompt_tokens.labels(model).inc(prompt_tokens)
        t.request_prompt_tokens.labels(model).observe(prompt_tokens)

    def finished(self, reason: str, timing: wire.Timing | None) -> None:
        """Record the engine's final answer: once per choice of a generation, otherwise once."""
        t.request_success.labels(self.model, reason).inc()
        if timing is not None:
            t.request_queue_time.labels(self.model).observe(timing.queue_ms / 1000)
            t.request_inference_time.labels(self.model).observe(timing.inference_ms / 1000)

    def close(self) -> None:
        """Record the total duration of the request."""
        t.e2e_request_latency.labels(self.model).observe(time.monotonic() - self.started)


class GenerationMeasures(Measures):
    """Like Measures, but also measures the times between tokens, separately for each choice."""

    def __init__(self, model: str, prompt_tokens: int, choices: int) -> None:
        super().__init__(model, prompt_tokens)
        self._last = [0.0] * choices  # when the last token of each choice arrived
        self._between = t.inter_token_latency.labels(model)
        self._count = t.generation_tokens.labels(model)

    def tokens(self, choice: int, count: int) -> None:
        """Record that `count` tokens of a choice have arrived together."""
        now, last = time.monotonic(), self._last[choice]
        if last:
            self._between.observe(now - last)
        else:
            t.time_to_first_token.labels(self.model).observe(now - self.started)
        self._last[choice] = now
        self._count.inc(count)

    def finished(self, reason: str, timing: wire.Timing | None) -> None:
        super().finished(reason, timing)
        if timing is not None:
            t.request_prefill_time.labels(self.model).observe(timing.prefill_ms / 1000)
            decode_ms = max(0.0, timing.inference_ms - timing.prefill_ms)
            t.request_decode_time.labels(self.model).observe(decode_ms / 1000)


class NoMeasures(GenerationMeasures):
    """Records nothing. Used for requests of the service itself, which do not count as traffic."""

    def __init__(self, model: str, prompt_tokens: int, choices: int = 1) -> None: ...

    def tokens(self, choice: int, count: int) -> None: ...

    def finished(self, reason: str, timing: wire.Timing | None) -> None: ...

    def close(self) -> None: ...
