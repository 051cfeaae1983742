"""`ostinato embed`: the embeddings of texts, as JSON lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.inference import CHUNK, Encoding, InputFile, Model, chosen_model, with_places
from app.cli.output import connect, print_line
from app.cli.references import check_reads_texts
from app.cli.streams import named_file
from app.cli.tables import InputRow, TableOptions, input_rows
from app.errors import InvalidRequest, OstinatoError
from app.wire.training_options import Columns

if TYPE_CHECKING:
    from app.client import Client


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
    """Print the embedding of each text, a vector of length 1, as one JSON object per line, with `text` and `embedding`.

    For a text that is blank, the embedding is null.
    """
    reference, file = chosen_model(model), named_file(file)
    extra = {"dimensions": dimensions, "truncate_prompt_tokens": -1 if truncate else None}
    body: dict[str, Any] = {"model": reference, **{name: value for name, value in extra.items() if value is not None}}
    rows = input_rows(texts, file, False, TableOptions(Columns(text=text_column), encoding))
    with connect() as client:
        check_reads_texts(client, reference, route="POST /v1/embeddings")
        sent = 0
        for text, vector in _embedded(client, body, rows):
            print_line({"text": text, "embedding": vector})
            sent += vector is not None
    if not sent:
        raise InvalidRequest("there is no text to embed")


def _embedded(client: Client, body: dict[str, Any], rows: Iterator[InputRow]) -> Iterator[tuple[Any, Any]]:
    """Yield each row's text with its vector. Rows without a text are not sent; their text and vector are None."""
    total = 0
    while chunk := list(itertools.islice(rows, CHUNK)):
        inputs = [row.input for row in chunk if row.input is not None]
        try:
            reply = client.post("/v1/embeddings", {**body, "input": inputs}) if inputs else {"data": []}
        except OstinatoError as error:
            error.message = with_places(error.message, chunk, total)
            raise
        items = iter(reply["data"])
        for row in chunk:
            yield row.input, None if row.input is None else next(items)["embedding"]
        total += len(chunk)
