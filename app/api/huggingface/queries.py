"""Query parameters of Hugging Face's routes that do not name a model in their path."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

ModelQuery = Annotated[
    str | None,
    Query(
        description="A model reference. Without it, the header `X-Model` or `OSTINATO_DEFAULT_MODEL` names the model",
        examples=["demo-sentiment-lstm"],
    ),
]
TaskQuery = Annotated[
    str | None,
    Query(
        description=(
            "The task to perform, if the version supports several; by default, the task for which the version was "
            "trained, or sentence similarity if `inputs` contains `source_sentence`"
        ),
        examples=["text-classification"],
    ),
]
