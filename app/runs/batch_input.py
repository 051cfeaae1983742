"""Reads and checks the input file of a batch: JSON Lines with one request on each line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from app.wire.batch import MOST_REQUESTS
from app.wording import listed

MOST_LINE = 64 * 2**20  # bytes
MOST_ERRORS = 100  # maximum number of errors that are reported for a file
# Maximum number of characters of a name or a text that an error quotes. Every reply about the batch contains its
# errors.
MOST_NAME, MOST_TEXT = 60, 200
BOM = b"\xef\xbb\xbf"


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the file. `body` is the body of a request to `url`, the batch's endpoint."""

    custom_id: Annotated[str, Meta(min_length=1, max_length=512)]
    method: str
    url: str
    body: msgspec.Raw


class NumberedRequest(NamedTuple):
    """A request with its line number (from 1) and its position among the requests (from 0)."""

    line: int
    position: int
    request: BatchRequest


class LineError(msgspec.Struct, frozen=True):
    """A reason why a file cannot be run as a batch, as shown to clients."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class CheckedInput:
    """The result of a check: the errors and, if there are no errors, the number of requests."""

    total: int
    errors: list[LineError]


class InvalidLine(Exception):
    """Raised for a line that is not a valid request."""

    def __init__(self, error: LineError) -> None:
        super().__init__(error.message)
        self.error = error


def requests(path: Path) -> Iterator[NumberedRequest]:
    """Yield the requests of a file. Blank lines are skipped. Raises InvalidLine at a line that is not a request."""
    for index, (line, text) in enumerate(_lines(path)):
        yield NumberedRequest(line, index, _decode(line, text))


def check(path: Path, endpoint: str) -> CheckedInput:
    """Check that each line is a request to the endpoint with a unique `custom_id`. Stops after `MOST_ERRORS` errors."""
    errors: list[LineError] = []
    seen: dict[str, int] = {}  # maps each custom_id to its line
    total = 0
    for line, text in _lines(path):
        total += 1
        if total > MOST_REQUESTS:
            errors.append(LineError("too_many_requests", f"a batch can have at most {MOST_REQUESTS} requests"))
            break
        try:
            request = _decode(line, text)
            _check(line, request, endpoint, seen)
            seen[request.custom_id] = line
        except InvalidLine as invalid:
            errors.append(invalid.error)
        if len(errors) >= MOST_ERRORS:
            break
    if not total:
        errors.append(LineError("empty_file", "the file contains no requests"))
    return CheckedInput(total, errors)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers. Reading ends after a line that is too long."""
    with path.open("rb") as file:
        number = 0
        while text := file.readline(MOST_LINE + 1):
            number += 1
            text = text.removeprefix(BOM) if number == 1 else text
            too_long = len(text) > MOST_LINE
            if too_long or text.strip():
                yield number, text
            if too_long:
                return


def _decode(line: int, text: bytes) -> BatchRequest:
    if len(text) > MOST_LINE:
        raise InvalidLine(LineError("line_too_long", f"a line can have at most {MOST_LINE} bytes", None, line))
    try:
        request = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise InvalidLine(_invalid(str(error), line)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"the line is not valid JSON ({error}); each line must be one JSON object"
        raise InvalidLine(LineError("invalid_json_line", message, None, line)) from None
    if not bytes(request.body).lstrip().startswith(b"{"):
        raise InvalidLine(LineError("invalid_request", "body must be an object", "body", line))
    return request


_decoder = msgspec.json.Decoder(BatchRequest)
_FIELDS = listed(BatchRequest.__struct_fields__, "and")
_VALUES = {"custom_id": "a string of 1 to 512 characters", "method": "a string", "url": "a string"}
_KINDS = {"array": "an array", "str": "a string", "int": "a number", "float": "a number", "bool": "a truth value"}


def _invalid(text: str, line: int) -> LineError:
    """Convert msgspec's message, such as "Object missing required field `url`"."""
    what, _, place = text.partition(" - at `$")
    field = place.strip("`.")[:MOST_NAME] or None
    if "missing required field" in what:
        field = what.split("`")[1][:MOST_NAME]
        return LineError(
            "missing_required_parameter", f"{field} is missing; a line has the fields {_FIELDS}", field, line
        )
    if "unknown field" in what:
        field = what.split("`")[1][:MOST_NAME]
        return LineError("unknown_field", f"unknown field {field!a}; the fields are {_FIELDS}", field, line)
    if field in _VALUES:
        return LineError("invalid_request", f"{field} must be {_VALUES[field]}", field, line)
    kind = what.rpartition("got `")[2].rstrip("`")
    message = f"the line must be a JSON object, not {_KINDS.get(kind, kind[:MOST_TEXT])}"
    return LineError("invalid_request", message, field, line)


def _check(line: int, request: BatchRequest, endpoint: str, seen: Mapping[str, int]) -> None:
    if request.method != "POST":
        raise InvalidLine(
            LineError("invalid_method", f"method must be POST, not {request.method[:20]!a}", "method", line)
        )
    if request.url != endpoint:
        message = f"url must be {endpoint}, the endpoint of the batch, not {request.url[:60]!a}"
        raise InvalidLine(LineError("invalid_url", message, "url", line))
    if request.custom_id in seen:
        earlier = seen[request.custom_id]
        message = f"line {earlier} has the same custom_id, {request.custom_id[:60]!a}; each line needs a unique one"
        raise InvalidLine(LineError("duplicate_custom_id", message, "custom_id", line))
