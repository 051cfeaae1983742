"""Recognises plain text whose lines begin or end with a label.

A language model trained on such lines learns to generate labels, which users rarely want.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from app.training.data.fasttext import PREFIX
from app.training.data.usual_names import quoted

_SOME = 0.4  # if at least this share of the lines have fastText's prefix, the lines may be labelled
_MOST = 0.9  # the share of the lines that must have one of the other kinds of labels
_FEWEST_LINES = 10
_LABEL = re.compile(r"\s*__[a-z]+__\S", re.IGNORECASE)  # variants of fastText's prefix, such as __LABEL__ or __class__
_FIRST_WORD = re.compile(r"^\s*(?:[\[(<{]([^\W_]+)[\])>}]|([^\W_]+))(?:\s*[:;,|=-]>?\s*|\s+)\S")
_LAST_WORD = re.compile(r"\S[\s,;:|>](?:[\[(<{]([^\W_]+)[\])>}]|[#=]?([^\W_]+))\s*$")
_FIRST_NUMBER = re.compile(
    r"^\s*([+-]?[0-9])(?:[\t ]+(?!(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))|[,;|]|:\s+|\s+[:|=-]\s+)\S",
    re.IGNORECASE,
)
_LAST_NUMBER = re.compile(r"[^\s:=]\s*[\t ,;|]([+-]?[0-9])\s*$")  # does not match `key: 1` or `key = 1`
_CLASS_AND_KIND = re.compile(r"^\s*([A-Za-z]\w*:[A-Za-z]\w*)\s+\S")  # DESC:manner, as in the question data set TREC
_SPEAKER = re.compile(r"^\s*([^\W\d][\w .'-]{0,30}?)\s*:\s+\S")
_CLASS = re.compile(r"[^\W\d_]|[+-]?[0-9]{1,2}$")  # the start of a label, but not of a date or time
_MEASURE = re.compile(
    r"\s*[0-9]+\s+(?:(?:large|small|medium|heaped|level|big|ripe|fresh|whole)\s+)?(?:cups?|tbsps?|tsps?|tablespoons?|"
    r"teaspoons?|spoons?|[gl]|kg|mg|ml|cl|dl|oz|lbs?|ounces?|pounds?|grams?|lit(?:er|re)s?|pints?|quarts?|cloves?|slices?|"
    r"sticks?|cans?|tins?|jars?|packs?|packets?|bunch(?:es)?|pinch(?:es)?|dash(?:es)?|drops?|pieces?|sprigs?|eggs?|"
    r"onions?|el|tl|tassen?|prisen?|stück|zehen?|bund|becher|dosen?|scheiben?|eier)\b\.?\s",
    re.IGNORECASE,
)
_FEWEST_COUNTED = 6  # fewer distinct numbers may be class numbers, such as ratings from 1 to 5
# Words that rarely begin or end every line of a text unless they are labels
_USUAL = {"pos", "neg", "neu", "positive", "negative", "neutral", "spam", "ham", "toxic", "nontoxic", "true", "false"}
_LOG_LEVELS = {"trace", "debug", "info", "notice", "warn", "warning", "error", "err", "fatal", "critical", "severe"}
_ROLES = {
    "user", "assistant", "system", "human", "bot", "ai", "gpt", "model", "customer", "agent", "client", "q", "a",
    "question", "answer", "prompt", "response", "instruction", "input", "output", "me", "you", "person",
}  # fmt: skip
_MOST_NUMBERS = 10  # more distinct numbers at the beginnings or ends of lines are not class numbers
_MOST_SPEAKERS = 20
_MOST_LABELS = 100
_REPEATED = 4  # the average number of lines per label
_LABEL_WORDS = 3
_WAYS = (
    "to classify, write a table (.csv or .tsv) with the columns text and label, or begin each line with __label__ and "
    "the label"
)


def find_prefix(lines: Sequence[str]) -> str:
    """Return the reason for suspecting fastText's prefix in another form or place, with advice, or "" if there is
    none.
    """
    most = _SOME * len(lines)
    prefixes = [match[0].strip()[:-1] for line in lines if (match := _LABEL.match(line))]
    if len(prefixes) > 1 and len(prefixes) >= most:
        prefix, _ = Counter(prefixes).most_common(1)[0]
        if prefix != PREFIX:
            return f"many of its lines begin with {prefix}; to classify, write {PREFIX} instead, in lower case"
        return f"many of its lines begin with {PREFIX}; to classify, set task to classification or multilabel"
    within = sum(PREFIX in line.lower() for line in lines)
    if within > 1 and within >= most:
        return f"many of its lines contain {PREFIX} after a text; to classify, write the labels first"
    return ""


def find_labels(lines: Sequence[str]) -> str:
    """Return the reason for suspecting that the lines of a text have labels, with advice, or "" if there is none.

    `lines` are the first non-blank lines of the text.
    """
    if len(lines) < _FEWEST_LINES:
        return ""
    for end, word, number in (("begins", _FIRST_WORD, _FIRST_NUMBER), ("ends", _LAST_WORD, _LAST_NUMBER)):
        numbers = [] if _are_counted(lines, number) else _few(lines, number, _MOST_NUMBERS)
        if labels := _usual(lines, word) or numbers:
            return f"nearly every line {end} with {quoted(labels)}; {_WAYS}"
    if labels := _few(lines, _CLASS_AND_KIND, _MOST_LABELS):
        return f"nearly every line begins with a label such as {labels[0]!r}; {_WAYS}"
    for delimiter, name in ((",", "a comma"), (";", "a semicolon"), ("|", "a vertical bar"), ("\t", "a tab")):
        for end, side in (("begins", "before"), ("ends", "after")):
            if labels := _cells(lines, delimiter, last=end == "ends"):
                return f"nearly every line {end} with a short cell, such as {labels[0]!r}, {side} {name}; {_WAYS}"
    return ""


def _are_counted(lines: Sequence[str], pattern: re.Pattern[str]) -> bool:
    """Whether the numbers that the pattern finds are line numbers, as in lists, or quantities, as in recipes."""
    numbers = [int(match[1]) for line in lines if (match := pattern.search(line))]
    following = sum(second == first + 1 for first, second in pairwise(numbers))
    is_sequence = len(set(numbers)) >= _FEWEST_COUNTED and following >= _SOME * len(numbers)
    return is_sequence or sum(_MEASURE.match(line) is not None for line in lines) >= _SOME * len(lines)


def find_speakers(lines: Sequence[str]) -> list[str]:
    """Return the distinct words before a colon at the beginning of nearly all lines, or [] if there are too many.

    These words may be labels, or the names of speakers. Returns [] for roles of conversations and for levels of logs.
    """
    speakers = _few(lines, _SPEAKER, _MOST_SPEAKERS)
    names = {speaker.lower() for speaker in speakers}
    return [] if len(lines) < _FEWEST_LINES or names & (_ROLES | _LOG_LEVELS) or len(names) < 2 else speakers


def _usual(lines: Sequence[str], pattern: re.Pattern[str]) -> list[str]:
    """Return the usual labels that the pattern finds in nearly all lines, or []."""
    words = [match[1] or match[2] for line in lines if (match := pattern.search(line))]
    labels = [word for word in words if word.lower() in _USUAL]
    return sorted(set(labels)) if len(labels) >= _MOST * len(lines) else []


def _few(lines: Sequence[str], pattern: re.Pattern[str], most: int) -> list[str]:
    """Return the distinct matches in nearly all lines, the most frequent first, or [] if there are too many."""
    return _repeated(Counter(match[1] for line in lines if (match := pattern.search(line))), len(lines), most)


def _repeated(labels: Counter[str], lines: int, most: int) -> list[str]:
    """Return the labels, the most frequent first, or [] if they are too many or occur in too few of the lines."""
    count = labels.total()
    is_few = len(labels) <= min(most, count // _REPEATED)
    return [label for label, _ in labels.most_common()] if is_few and count >= _MOST * lines else []


def _cells(lines: Sequence[str], delimiter: str, *, last: bool) -> list[str]:
    """Return the first (or `last`) cells of nearly all lines if few of these cells are distinct; otherwise, []."""
    labels: Counter[str] = Counter()
    for line in lines:
        before, _, after = line.strip().rpartition(delimiter) if last else line.strip().partition(delimiter)
        label, text = (after, before) if last else (before, after)
        # In prose, commas and semicolons are next to a space, but between cells they are not.
        is_prose = delimiter in ",;" and (before[-1:].isspace() or after[:1].isspace())
        label = label.strip(' "')
        if text and not is_prose and _CLASS.match(label) and len(label.split()) <= _LABEL_WORDS:
            labels[label] += 1
    return [] if _LOG_LEVELS & {label.lower() for label in labels} else _repeated(labels, len(lines), _MOST_LABELS)
