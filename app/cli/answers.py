"""Sends texts to a route in chunks, and assigns each answer to its row."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from app.cli.tables import InputRow
from app.errors import OstinatoError

if TYPE_CHECKING:
    from app.client import Client

INPUT = re.compile(r"\binput\[(\d+)\]")  # how the service's messages refer to a text of the request
NUMBERS = "expects numbers in the form"  # in the error for a text that is sent to a version that reads numbers
CHUNK = 256  # maximum number of texts in one request


def answers(
    client: Client, route: str, body: dict[str, Any], rows: Iterable[InputRow]
) -> Iterator[tuple[InputRow, Any, Any]]:
    """Send rows to a route in chunks, and yield each row with its item and the reply that contains the item.

    A row without a text is not sent; its item and its reply are None.
    """
    rows, total = iter(rows), 0
    while chunk := list(itertools.islice(rows, CHUNK)):
        inputs = [row.input for row in chunk if row.input is not None]
        try:
            reply = client.post(route, {**body, "input": inputs}) if inputs else {"data": []}
        except OstinatoError as error:
            error.message = _with_places(error.message, chunk, total)
            raise
        items = iter(reply["data"])
        for row in chunk:
            yield (row, None, None) if row.input is None else (row, next(items), reply)
        total += len(chunk)


def _with_places(message: str, chunk: Sequence[InputRow], before: int) -> str:
    """Replace each `input[…]` in an error message with the text's row number, counted from 1.

    `before` is the number of rows in earlier requests.
    """
    numbers = [number for number, row in enumerate(chunk, before + 1) if row.input is not None]

    def place(match: re.Match[str]) -> str:
        number = int(match[1])
        return f"text {numbers[number]}" if number < len(numbers) else match[0]

    if message.startswith("input ") and len(numbers) == 1:
        message = message.replace("input", "input[0]", 1)
    if NUMBERS in message:
        message = f"{message}; this command reads only texts; send the numbers to POST /v1/classify"
    return INPUT.sub(place, message)
