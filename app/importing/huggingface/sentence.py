"""Reads the module list of sentence-transformers: the network's folder, pooling and maximum length."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.importing.huggingface.directory import inner, read_json, read_object
from app.importing.pytorch.tensors import ForeignFileInvalid
from app.importing.questions import Answers

MODULES = "modules.json"
# The names of pooling modes in sentence-transformers -> our names.
MODES = {"cls": "first", "max": "max", "mean": "mean", "lasttoken": "last"}
# Old files have a key `pooling_mode_X` for each mode: X -> the mode's name, if it differs from X.
OLD_MODES = {"cls_token": "cls", "max_tokens": "max", "mean_tokens": "mean"}


@dataclass(frozen=True, slots=True)
class SentenceModules:
    """The modules of a directory. `pooling` and `longest` are None if the directory does not determine them."""

    folder: Path
    pooling: str | None = None
    longest: int | None = None
    lowercase: bool = False


def read_modules(source: Path, answers: Answers) -> SentenceModules:
    """Read modules.json and the files that it names. Raises ForeignFileInvalid for an unsupported module."""
    if not (source / MODULES).is_file():
        return SentenceModules(source)
    entries = read_json(source / MODULES)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ForeignFileInvalid(f"{MODULES} must be a list of modules")
    kinds = [str(entry.get("type", "")).rpartition(".")[2] for entry in entries]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        shown = ", ".join(kind[:40] for kind in kinds)
        raise ForeignFileInvalid(
            f"{MODULES} lists {shown}; only Transformer, Pooling and Normalize, in this order, can be imported"
        )
    if "Normalize" not in kinds:
        answers.assumed.append(
            "normalize=yes: vectors are scaled to length 1; your program does not change their lengths"
        )
    folder = _folder(source, entries[0])
    settings = read_object(folder / "sentence_bert_config.json")
    _check_prompts(source, answers)
    longest = settings.get("max_seq_length")
    if longest is not None and (not isinstance(longest, int) or isinstance(longest, bool) or longest < 1):
        raise ForeignFileInvalid("sentence_bert_config.json: max_seq_length must be an integer of 1 or more")
    pooling = _pooling(_folder(source, entries[1]) / "config.json")
    return SentenceModules(folder, pooling, longest, settings.get("do_lower_case") is True)


def _folder(source: Path, entry: dict[str, Any]) -> Path:
    path = entry.get("path", "")
    return inner(source, path, MODULES) if path else source


def _check_prompts(source: Path, answers: Answers) -> None:
    settings = read_object(source / "config_sentence_transformers.json")
    prompts, default = settings.get("prompts"), settings.get("default_prompt_name")
    if default is not None:
        raise ForeignFileInvalid(
            "config_sentence_transformers.json: default_prompt_name adds a prompt to every text, which is not "
            "supported; remove the entry, and send the prompt with each text"
        )
    if isinstance(prompts, dict) and any(prompts.values()):
        shown = ", ".join(str(name)[:40] for name, text in prompts.items() if text)
        answers.assumed.append(f"prompts=none: if your program adds a prompt ({shown}), send it with the text")


def _pooling(path: Path) -> str:
    settings = read_object(path, required=True)
    mode = settings.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else mode
    if modes is None:
        names = [
            key.removeprefix("pooling_mode_") for key, on in settings.items() if key.startswith("pooling_mode_") and on
        ]
        modes = [OLD_MODES.get(name, name) for name in names]
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in MODES:
        raise ForeignFileInvalid(
            f"{path.parent.name}/{path.name}: the pooling {str(modes)[:80]} cannot be imported; it must be one of "
            f"{', '.join(MODES)}"
        )
    return MODES[modes[0]]
