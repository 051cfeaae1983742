"""What a file of weights does not say: a person must, or it is assumed and told. Knows how answers are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import InvalidRequest, did_you_mean

NUMBERS = ("context_length", "heads", "norm_eps")
KNOWN = (
    *NUMBERS, "activation", "embedding", "embedding_scale", "head", "labels", "lowercase", "nonlinearity", "norm_first",
    "pooling", "positions", "split", "task", "template", "unknown",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """`options` empty: free text. `usual` is what PyTorch's own default is, where there is one."""

    field: str
    text: str
    options: tuple[str, ...] = ()
    usual: str | None = None

    def __str__(self) -> str:
        how = f" ({', '.join(self.options)})" if self.options else ""
        usual = f" [PyTorch's default: {self.usual}]" if self.usual else ""
        return f"{self.field}: {self.text}{how}{usual}"


class ImportQuestion(InvalidRequest):
    """Raised with everything that is still to be said, so that a person is asked once."""

    code = "import_question"

    def __init__(self, questions: list[Question]) -> None:
        self.questions = questions
        lines = "\n".join(f"  {question}" for question in questions)
        super().__init__(
            "names and shapes do not tell everything; please say, with --set FIELD=VALUE or an option of its own:\n"
            + lines,
            param=questions[0].field,
        )


class Answers:
    """What a person has said, and what is still open."""

    def __init__(self, given: Mapping[str, str]) -> None:
        for field in given:
            if field not in KNOWN:
                hint = did_you_mean(field, KNOWN, f"; there are {', '.join(KNOWN)}", cutoff=0.6)
                raise InvalidRequest(f"{field!r} is nothing that an import asks{hint}", param=field)
        self._given = given
        self.open: list[Question] = []
        self.assumed: list[str] = []

    def ask(self, question: Question) -> str:
        """The answer; where there is none yet, the question stays open and some option stands in."""
        given = self._given.get(question.field)
        if given is None:
            self.open.append(question)
            return question.usual or (question.options[0] if question.options else "")
        if question.options and given not in question.options:
            raise InvalidRequest(
                f"{question.field}={given}: it can be {', '.join(question.options)}", param=question.field
            )
        return given

    def given(self, field: str) -> str | None:
        return self._given.get(field)

    def assume(self, field: str, value: str, why: str, options: tuple[str, ...] = ()) -> str:
        """The answer; where there is none, `value`, and it is told that and why it was assumed."""
        if self._given.get(field) is not None:
            return self.ask(Question(field, why, options))
        self.assumed.append(f"{field}={value}: {why}")
        return value

    def number(self, field: str, default: float, why: str) -> float:
        """As `assume`."""
        given = self.assume(field, f"{default:g}", why)
        try:
            return float(given)
        except ValueError:
            raise InvalidRequest(f"{field}={given}: it must be a number", param=field) from None

    def settle(self) -> None:
        """Raise ImportQuestion if anything is open."""
        if self.open:
            raise ImportQuestion(self.open)
