"""The settings that the weights do not determine. The import asks the user for them, or assumes and reports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import InvalidRequest, did_you_mean

FIELDS = (
    "activation", "adapter", "around", "batch_norm", "batch_norm_eps", "context_length", "embedding_scale",
    "final_activation", "first_id", "head_activation", "heads", "ignore", "input", "input_activation", "labels",
    "layers", "lowercase", "mask", "nonlinearity", "norm", "norm_eps", "norm_first", "output_activation", "padding",
    "pooling", "pooling_activation", "pooling_input_activation", "positions", "split", "stack", "task", "template",
    "unknown", "weights",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the user.

    `options` contains the possible answers, and is empty if any answer is allowed. `usual` is PyTorch's default, or
    None. `condition` says when to answer, if that depends on the answer to another question; it is empty otherwise.
    """

    field: str
    text: str
    options: tuple[str, ...] = ()
    usual: str | None = None
    condition: str = ""

    def __str__(self) -> str:
        options = f" ({', '.join(self.options)})" if self.options else ""
        usual = f" [PyTorch's default: {self.usual}]" if self.usual else ""
        return f"{self.field}: {self.text}{options}{usual}"


class ImportQuestion(InvalidRequest):
    """The import needs answers. All open questions are raised together, so that the user is asked only once."""

    code = "import_question"

    def __init__(self, questions: list[Question]) -> None:
        self.questions = questions
        lines = "\n".join(f"  {question}" for question in questions)
        super().__init__(
            "the weights do not determine all settings; answer with --set FIELD=VALUE, or with the named option:"
            f"\n{lines}",
            param=questions[0].field,
        )


class Answers:
    """The user's answers, the questions that are still open, and the assumptions made.

    `labels` is the number of labels that the user or the file specifies, or None if neither specifies labels.
    `labels_entry` is the name of the file's entry with the labels. `keras` says whether the weights come from Keras,
    whose programs split texts in their own way. Raises InvalidRequest for an answer to a question
    that does not exist.
    """

    def __init__(self, answers: Mapping[str, str]) -> None:
        for field in answers:
            if field not in FIELDS:
                hint = did_you_mean(field, FIELDS, f"; the settings are {', '.join(FIELDS)}")
                raise InvalidRequest(f"{field!r} is not a setting of an import{hint}", param=field)
        self._answers = answers
        self._used: set[str] = set()
        self.labels: int | None = None
        self.labels_entry: str | None = None
        self.keras = False
        self.open: list[Question] = []
        self.assumed: list[str] = []  # each as `field=value: reason`

    def ask(self, question: Question) -> str:
        """Return the user's answer.

        If there is no answer, the question stays open and a possible answer is returned. The import can then continue
        and collect the remaining questions.
        """
        answer = self.get(question.field)
        if answer is None:
            self.open.append(question)
            return question.usual or (question.options[0] if question.options else "")
        if question.options and answer not in question.options:
            answer = answer.lower().replace("-", "_")
        if question.options and answer not in question.options:
            raise InvalidRequest(
                f"{question.field}={answer}: must be one of {', '.join(question.options)} ({question.text})",
                param=question.field,
            )
        return answer

    def get(self, field: str) -> str | None:
        """Return the user's answer for `field`, or None if there is none."""
        self._used.add(field)
        return self._answers.get(field)

    def assume(self, field: str, value: str, reason: str, options: tuple[str, ...] = ()) -> str:
        """Return the user's answer. If there is none, return `value`, and record the assumption with its `reason`."""
        if self.get(field) is not None:
            return self.ask(Question(field, reason, options))
        self.assumed.append(f"{field}={value}: {reason}")
        return value

    def number(self, field: str, default: float, reason: str) -> float:
        """Like `assume`, for a number. Raises InvalidRequest for an answer that is not a number."""
        answer = self.assume(field, f"{default:g}", reason)
        try:
            return float(answer)
        except ValueError:
            raise InvalidRequest(f"{field}={answer}: must be a number", param=field) from None

    def count(self, field: str, default: int, reason: str) -> int:
        """Like `assume`, but for a positive integer. Raises InvalidRequest for any other answer."""
        answer = self.assume(field, str(default), reason)
        if not answer.isdecimal() or int(answer) < 1:
            raise InvalidRequest(f"{field}={answer}: must be an integer of 1 or more", param=field)
        return int(answer)

    def settle(self) -> None:
        """Raise ImportQuestion if a question is open, or InvalidRequest if the import did not use all answers."""
        if self.open:
            raise ImportQuestion(self.open)
        if unused := [field for field in self._answers if field not in self._used]:
            raise InvalidRequest(
                f"{', '.join(unused)}: this has no effect on the network; leave it out, or check that the file is "
                "the intended one",
                param=unused[0],
            )
