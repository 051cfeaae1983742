"""Makes a tokenizer split texts into words as other programs do, with the components of the tokenizers library."""

from __future__ import annotations

import re

import tokenizers
from tokenizers import decoders, normalizers, pre_tokenizers

from app.checkpoint.patterns import WORDS
from app.importing.keras_texts import FILTERS, SIGMA_TEXT, TextRules, add_rules, has_final_sigma
from app.importing.questions import Answers, Question

SPLITS = ("whitespace", "characters", "basic_english", *WORDS)
MEANINGS = (
    "whitespace: text.split(); characters: into single characters; basic_english: torchtext's tokenizer; words: the "
    "regular expression \\w+; words_and_punctuation: \\w+|[^\\w\\s]+, as NLTK's wordpunct_tokenize; "
    "words_and_marks: \\w+|[^\\w\\s]"
)
KERAS = "keras"  # an answer for vocabularies of Keras models only
KERAS_MEANING = "; keras: at spaces, which replace all punctuation except ', as with the usual filters of a Tokenizer"
CONDITIONS = (  # the questions that depend on the vocabulary, for users who have not named it yet
    "Also set unknown=WORD (a word or an id that replaces words that are not in the file; or skip or none), "
    "first_id=ID (the id of the file's first word: 0, or more if the file has fewer words than the embedding, which "
    "has {rows} rows) and around=none or around='<s> … </s>' (the tokens of the file that the program puts around "
    "each text). For a tokenizer.json, leave these out"
)
# The replacements of torchtext.data.utils.get_tokenizer("basic_english"), in the same order.
BASIC_ENGLISH = (
    ("'", " '  "), ('"', ""), (".", " . "), ("<br />", " "), (",", " , "), ("(", " ( "), (")", " ) "), ("!", " ! "),
    ("?", " ? "), (";", " "), (":", " "),
)  # fmt: skip
JOINED = re.compile(r"\w[^\w\s]|[^\w\s]\w")  # a letter or digit next to punctuation, as in `don't` or `end.`
MARKED = re.compile(r"<.*>|\[.*\]")  # names that programs give to special tokens, as in `<num>`


def add_splitting(native: tokenizers.Tokenizer, words: list[str], answers: Answers) -> None:
    """Make `native` split texts as the original program does, according to its vocabulary and the user's answers."""
    split = _split(words, answers)
    if split == KERAS:
        add_rules(native, TextRules(_lowercases(words, answers), FILTERS))
        return
    if split == "characters":
        native.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
        native.decoder = decoders.Fuse()
    elif split in WORDS:
        # `invert`: the text between two matches of the expression separates words and is removed.
        native.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(WORDS[split]), "removed", invert=True)
    else:
        native.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if split == "basic_english":
        if answers.get("lowercase") is not None:
            answers.ask(Question("lowercase", "basic_english lowercases texts", ("yes",)))
        replacements = [normalizers.Replace(old, new) for old, new in BASIC_ENGLISH]
        native.normalizer = normalizers.Sequence([normalizers.Lowercase(), *replacements])
    elif _lowercases(words, answers):
        native.normalizer = normalizers.Lowercase()


def ask_before_vocabulary(answers: Answers) -> None:
    """Ask the questions that apply to a list of words, before the vocabulary is known."""
    _ask_split("for a list of words: how does the program split texts?", answers)
    answers.ask(Question("lowercase", "for a list of words: does the program lowercase the text first?", ("yes", "no")))


def _ask_split(text: str, answers: Answers) -> str:
    meanings, options = (MEANINGS + KERAS_MEANING, (KERAS, *SPLITS)) if answers.keras else (MEANINGS, SPLITS)
    return answers.ask(Question("split", f"{text} {meanings}", options))


def _split(words: list[str], answers: Answers) -> str:
    if not any(len(word) > 1 for word in words):
        return answers.ask(Question("split", "is the text split at whitespace, or into characters?", SPLITS))
    punctuated = any(len(word) == 1 and not word.isalnum() for word in words)
    joined = next((word for word in words if JOINED.search(word) and not MARKED.fullmatch(word)), None)
    if joined is not None and not punctuated and not answers.keras:
        reason = f"no other way to split a text produces tokens such as {joined!r}"
        return answers.assume("split", "whitespace", reason, SPLITS)
    contents = "punctuation marks as tokens" if punctuated else "no punctuation marks as tokens"
    return _ask_split(f"the vocabulary contains {contents}; how does the program split texts?", answers)


def _lowercases(words: list[str], answers: Answers) -> bool:
    """Whether texts are lowercased.

    If the vocabulary contains capital letters, the original program is assumed not to lowercase texts.
    """
    if any(word != word.lower() for word in words):
        return answers.assume("lowercase", "no", "the vocabulary has capital letters", ("yes", "no")) == "yes"
    answer = answers.ask(Question("lowercase", "does the program lowercase the text first?", ("yes", "no")))
    if answer == "yes" and has_final_sigma(words):
        answers.assumed.append(f"lowercase=yes: {SIGMA_TEXT}")
    return answer == "yes"
