"""The parts of a Hugging Face directory, which are passed to the readers of the model families."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.importing.huggingface.heads import UNUSED
from app.importing.huggingface.parts import ForeignBody
from app.importing.huggingface.sentence import SentenceModules
from app.importing.huggingface.source_config import SourceConfig
from app.importing.huggingface.word_piece import WORDS
from app.importing.pytorch.tensors import Tensors
from app.importing.questions import Answers
from app.tokenization.definition import FILE
from app.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A model to import. Readers remove the tensors that they use; `heads.drop_unused` checks the remaining ones."""

    source: Path
    modules: SentenceModules
    config: SourceConfig
    tokenizer: Tokenizer
    tensors: Tensors
    answers: Answers

    @property
    def folder(self) -> Path:
        """The folder with the network."""
        return self.modules.folder

    @property
    def tokenizer_folder(self) -> Path:
        """The folder with the tokenizer."""
        return tokenizer_folder(self.source, self.folder)

    @property
    def architecture(self) -> str:
        """The class name of the saved model, or an empty string."""
        listed = self.config.get("architectures", default=[])
        return str(listed[0]) if isinstance(listed, list) and listed else ""


def tokenizer_folder(source: Path, folder: Path) -> Path:
    """Return the tokenizer's folder, which is the network's folder or, in some old directories, its parent."""
    return folder if any((folder / name).is_file() for name in (FILE, WORDS)) else source


@dataclass(frozen=True, slots=True)
class WholeModel:
    """A converted model, a description of its head or pooling, and additional entries for our config.json.

    `unused` is a regular expression for the names of the tensors that have no effect.
    """

    body: ForeignBody
    described: str
    extra: dict[str, Any] = field(default_factory=dict)
    unused: str = UNUSED
