"""`ostinato embed`: the embeddings of texts, as JSON lines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.answers import answers
from app.cli.inference import Encoding, InputFile, Model, chosen_model
from app.cli.output import connect, print_line
from app.cli.references import check_reads_texts
from app.cli.streams import named_file
from app.cli.tables import TableOptions, input_rows
from app.errors import InvalidRequest
from app.wire.training_options import Columns


def register(program: typer.Typer) -> None:
    program.command()(embed)


def embed(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts to embed.", show_default="standard input, one text per line")
    ] = None,
    model: Model = None,
    file: InputFile = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the texts.", show_default="text")] = None,
    encoding: Encoding = None,
    dimensions: Annotated[int | None, typer.Option(min=1, help="Shorten each vector to this length.")] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Truncate texts that are too long instead of rejecting them.")
    ] = False,
) -> None:
    """Print one JSON object per line, with a `text` and its `embedding`, which is a vector of length 1.

    The embedding of a blank text is null.
    """
    reference, file = chosen_model(model), named_file(file)
    extra = {"dimensions": dimensions, "truncate_prompt_tokens": -1 if truncate else None}
    body: dict[str, Any] = {"model": reference, **{name: value for name, value in extra.items() if value is not None}}
    rows = input_rows(texts, file, False, TableOptions(Columns(text=text_column), encoding))
    with connect() as client:
        check_reads_texts(client, reference, route="POST /v1/embeddings")
        sent = 0
        for row, item, _ in answers(client, "/v1/embeddings", body, rows):
            print_line({"text": row.input, "embedding": item and item["embedding"]})
            sent += item is not None
    if not sent:
        raise InvalidRequest("there is no text to embed")
