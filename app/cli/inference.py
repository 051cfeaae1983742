"""`ostinato classify` and `ostinato generate`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import settings
from app.cli.answers import answers
from app.cli.options import SWITCHES
from app.cli.output import Json, clean, connect, print_json, table, warn
from app.cli.predictions import LabelCounts, answers_of, columns_of, shorten
from app.cli.references import check_reads_texts
from app.cli.saved_tables import check_output, write_rows
from app.cli.streams import named_file, read_text
from app.cli.tables import InputRow, TableOptions, input_rows
from app.errors import InvalidRequest
from app.wire.engine import TERMINAL_MAX_TOKENS
from app.wire.file_formats import TABLES
from app.wire.training_options import Columns
from app.wording import quantity

if TYPE_CHECKING:
    from app.client import Client

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A version: name, name:3 or name@alias.", show_default="the default model"),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Multilabel: minimum probability for assigning a label.", show_default="the version's own"
    ),
]
Calibrated = Annotated[
    bool | None,
    typer.Option(
        "--calibrated/--uncalibrated",
        help="Require calibrated scores, or show uncalibrated scores.",
        rich_help_panel=SWITCHES,
        show_default="calibrated, if the version has a calibration",
    ),
]
PredictionSet = Annotated[
    float | None,
    typer.Option(help="Also show a set of labels that contains the true label with this probability, such as 0.9."),
]
AbstainBelow = Annotated[float | None, typer.Option(help="Assign no label to texts whose score is below this value.")]
MaxRisk = Annotated[
    float | None,
    typer.Option(help="Assign no label to uncertain texts, so that at most this share of the answers is wrong."),
]
InputFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        help=f"Read a table ({', '.join(TABLES)}), or texts from a file, one per line; - is standard input.",
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the predictions as a table: .csv, .tsv or .jsonl.")
]
PairColumn = Annotated[
    str | None, typer.Option(help="Column with the second text of each pair.", show_default="text_pair")
]
Encoding = Annotated[str | None, typer.Option(help="Encoding of the file, such as cp1251.", show_default="detected")]
SkipBadRows = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Leave out unusable rows of a table, up to this fraction of all rows."),
]


def register(program: typer.Typer) -> None:
    program.command()(classify)
    program.command()(generate)


def chosen_model(model: str | None) -> str:
    """The model from --model or, without it, from OSTINATO_DEFAULT_MODEL. Raises InvalidRequest if neither is set."""
    reference = model or settings.load().default_model
    if not reference:
        raise InvalidRequest("choose a model with --model NAME (`ostinato models` lists the models)")
    return reference


def classify(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts to classify.", show_default="standard input, one text per line")
    ] = None,
    model: Model = None,
    file: InputFile = None,
    output: Output = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the texts.", show_default="text")] = None,
    text_pair_column: PairColumn = None,
    encoding: Encoding = None,
    skip_bad_rows: SkipBadRows = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Number of labels to show for each text.")] = None,
    threshold: Threshold = None,
    calibrated: Calibrated = None,
    prediction_set: PredictionSet = None,
    abstain_below: AbstainBelow = None,
    max_risk: MaxRisk = None,
    pair: Annotated[bool, typer.Option("--pair", help="Treat the two texts as one pair.")] = False,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Truncate texts that are too long instead of rejecting them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Classify texts, or predict their values with a regression model."""
    extra = {
        "top_k": top_k, "threshold": threshold, "truncate_prompt_tokens": -1 if truncate else None,
        "calibrated": calibrated, "prediction_set": prediction_set, "abstain_below": abstain_below,
        "max_risk": max_risk,
    }  # fmt: skip
    reference, file = chosen_model(model), named_file(file)
    body = {"model": reference, **{k: v for k, v in extra.items() if v is not None}}
    _check_fractions(body)
    options = TableOptions(
        Columns(text=text_column, text_pair=text_pair_column), encoding, skip_bad_rows, whole=output is not None
    )
    rows = input_rows(texts, file, pair, options)
    if output is not None:
        check_output(output, file)
    with connect() as client:
        if file is not None:
            check_reads_texts(client, reference)
        results = _classified(client, body, rows)
        if output is not None:
            _save(results, output, top_k, body, as_json)
        elif as_json:
            print_json(_merge(list(results)))
        else:
            items = _show(((row, item) for row, item, _ in list(results)), top_k, with_sets=prediction_set is not None)
            if file is not None and (missing := _label_counts(items).sentence(body)):
                warn(missing)


def check_finite(body: dict[str, Any]) -> None:
    """Raise InvalidRequest for an option that is infinite or not a number, which JSON cannot represent."""
    for name, value in body.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidRequest(f"--{name.replace('_', '-')} {value:g}: must be a finite number")


def _check_fractions(body: dict[str, Any]) -> None:
    """Raise InvalidRequest for an option that is not a fraction.

    If the value is probably a percentage, the message suggests a fraction.
    """
    for name in ("prediction_set", "abstain_below", "max_risk"):
        value, includes_ends = body.get(name), name == "abstain_below"
        if value is None or 0 < value < 1 or (includes_ends and value in (0, 1)):
            continue
        instead = f", such as {value / 100:g} instead of {value:g}" if 1 < value < 100 else ""
        raise InvalidRequest(f"--{name.replace('_', '-')} {value:g}: must be a number between 0 and 1{instead}")


def _show(results: Iterable[tuple[InputRow, Any]], top_k: int | None, *, with_sets: bool) -> list[Any]:
    """Print a table with one line per text. Returns the items of the texts."""
    rows = list(results)
    items = [item for _, item in rows]
    columns, cells = answers_of(items, top_k, with_sets=with_sets)
    lines = [[*answer, shorten(row.input)] for answer, (row, _) in zip(cells, rows, strict=True)]
    table([*columns, "text"], lines)
    return items


def _label_counts(items: Iterable[Any]) -> LabelCounts:
    counts = LabelCounts()
    for item in items:
        counts.add(item)
    return counts


def _save(
    results: Iterable[tuple[InputRow, Any, Any]], output: Path, top_k: int | None, body: dict[str, Any], as_json: bool
) -> None:
    """Write the predictions to a table. Prints the number of rows, and the number of rows without a label."""
    counts = LabelCounts()

    def rows() -> Iterator[tuple[InputRow, dict[str, Any]]]:
        for row, item, _ in results:
            counts.add(item)
            yield row, columns_of(item, top_k)

    saved = write_rows(rows(), output)
    if as_json:
        print_json({"path": str(output), "rows": saved.rows, "without_label": counts.abstained + counts.below})
        return
    encoding = f", {saved.encoding}" * bool(saved.encoding)
    print(f"saved {output} ({quantity(saved.rows, 'row')}{encoding})")
    if missing := counts.sentence(body):
        print(missing)


def _classified(client: Client, body: dict[str, Any], rows: Iterable[InputRow]) -> Iterator[tuple[InputRow, Any, Any]]:
    """Yield the answers to all rows, as `answers` does, and print a warning about rows without a text.

    Raises InvalidRequest if no row has a text.
    """
    empty = sent = 0
    for row, item, reply in answers(client, "/v1/classify", body, rows):
        sent, empty = sent + (item is not None), empty + (item is None)
        yield row, item, reply
    if not sent:
        raise InvalidRequest("there is no text to classify")
    if empty:
        warn(f"warning: {quantity(empty, 'row')} without a text {'has' if empty == 1 else 'have'} no prediction")


def _merge(results: list[tuple[InputRow, Any, Any]]) -> dict[str, Any]:
    """Merge replies into one, as if all texts had been sent in one request; `usage` is summed.

    An item's `index` counts all rows, including skipped rows without a text.
    """
    replies = list({id(reply): reply for *_, reply in results if reply is not None}.values())
    usages = [reply["usage"] for reply in replies if reply.get("usage")]
    return dict(replies[0]) | {
        "data": [{**item, "index": index} for index, (_, item, _) in enumerate(results) if item is not None],
        "usage": {
            key: sum(usage[key] for usage in usages)
            for key, value in (usages[0] if usages else {}).items()
            if isinstance(value, int)
        },
    }


def generate(
    prompt: Annotated[str | None, typer.Argument(help="The text to continue.", show_default="standard input")] = None,
    model: Model = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum number of tokens to generate.")] = TERMINAL_MAX_TOKENS,
    temperature: Annotated[
        float | None, typer.Option(help="0 always chooses the most probable token.", show_default="1")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample from the k most probable tokens only.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the smallest set of tokens with this total probability.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Exclude tokens whose probability is below this fraction of the highest one.")
    ] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Values above 1 reduce repetition.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed, which makes sampling repeatable.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text. May be given several times.")] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Truncate a prompt that is too long instead of rejecting it.")
    ] = False,
    echo: Annotated[bool, typer.Option("--echo", help="Also print the prompt.")] = False,
    as_json: Json = False,
) -> None:
    """Continue a text, and print the continuation as it is generated."""
    body: dict[str, Any] = {
        "model": chosen_model(model), "prompt": read_text() if prompt is None else prompt,
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "seed": seed, "stop": stop or None,
        "truncate_prompt_tokens": -1 if truncate else None,
    }  # fmt: skip
    body = {name: value for name, value in body.items() if value is not None}
    check_finite(body)
    with connect() as client:
        if as_json:
            print_json(client.post("/v1/completions", {**body, "echo": echo} if echo else body))
            return
        if echo:
            sys.stdout.write(printable(body["prompt"]))
        for event in client.stream("/v1/completions", {**body, "stream": True}):
            for choice in event.get("choices") or []:
                sys.stdout.write(printable(choice.get("text") or ""))
            sys.stdout.flush()
    print()


def printable(text: str) -> str:
    """At a terminal, replace control characters other than line feeds in generated text."""
    if not sys.stdout.isatty():
        return text
    return "\n".join(clean(line) for line in text.split("\n"))
