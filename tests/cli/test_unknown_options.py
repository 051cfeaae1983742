"""Errors about unknown options name the argument or the option that the user probably meant."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("arguments", "option", "argument"),
    [
        (("evaluate", "a.csv", "--model", "m"), "--model", "model"),
        (("evaluate", "a.csv", "-m", "m"), "-m", "model"),
        (("chat", "-m", "m"), "-m", "model"),
        (("train", "-f", "a.csv"), "-f", "file"),
        (("export", "--model", "m"), "--model", "reference"),
        (("models", "show", "-m", "m"), "-m", "reference"),
        (("models", "versions", "--model", "m"), "--model", "name"),
        (("jobs", "show", "--job-id", "j"), "--job-id", "job_id"),
    ],
)
def test_an_option_that_is_an_argument(ostinato: Run, arguments: tuple[str, ...], option: str, argument: str) -> None:
    done = ostinato(*arguments)
    expected = f"no such option: {option}; {argument} is a positional argument, so give only its value"
    assert done.status == 2 and expected in done.err and "did you mean" not in done.err


def test_an_abbreviation_of_other_programs_is_known(ostinato: Run) -> None:
    assert "no such option: --lr; did you mean '--learning-rate'?" in ostinato("train", "a.csv", "--lr", "0.1").err


@pytest.mark.parametrize("arguments", [("train", "-q"), ("registry", "fsck", "--qqqq"), ("keys", "--model")])
def test_an_option_like_no_other_gets_no_suggestion(ostinato: Run, arguments: tuple[str, ...]) -> None:
    done, option = ostinato(*arguments), arguments[-1]
    assert done.status == 2 and f"no such option: {option}\n" in done.err
