"""`ostinato classify` and `ostinato generate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app import settings
from app.cli.output import Json, clean, connect, print_json, table
from app.errors import InvalidRequest

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A version: name, name:3 or name@alias.", show_default="OSTINATO_DEFAULT_MODEL"),
]
CHUNK = 256  # texts in one request, where many are read from a file


def register(program: typer.Typer) -> None:
    program.command()(classify)
    program.command()(generate)


def chosen_model(model: str | None) -> str:
    """The model of --model, else of OSTINATO_DEFAULT_MODEL. Raises InvalidRequest if neither is set."""
    reference = model or settings.load().default_model
    if not reference:
        raise InvalidRequest("name a model with --model NAME (`ostinato models` lists them)")
    return reference


def classify(
    texts: Annotated[
        list[str] | None, typer.Argument(help="The texts.", show_default="standard input, one text per line")
    ] = None,
    model: Model = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the texts from a file, one per line.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Show this many labels for each text.")] = None,
    pair: Annotated[bool, typer.Option("--pair", help="Treat the two texts as one pair.")] = False,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Truncate texts that are too long instead of rejecting them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Classify texts, or predict their values with a regression model."""
    reference = chosen_model(model)
    inputs: list[Any] = _read_texts(texts, file)
    if pair:
        if len(inputs) != 2:
            raise InvalidRequest(f"--pair needs two texts, not {len(inputs)}")
        inputs = [{"text": inputs[0], "text_pair": inputs[1]}]
    extra = {"top_k": top_k, "truncate_prompt_tokens": -1 if truncate else None}
    body = {"model": reference, **{k: v for k, v in extra.items() if v is not None}}
    with connect() as client:
        replies = [
            client.post("/v1/classify", {**body, "input": inputs[start : start + CHUNK]})
            for start in range(0, len(inputs), CHUNK)
        ]
    if as_json:
        print_json(_merge(replies))
        return
    items = [item for reply in replies for item in reply["data"]]
    rows = [(*label_and_score(item, top_k), _shorten(text)) for item, text in zip(items, inputs, strict=True)]
    table(["label", "score", "text"], rows)


def _read_texts(texts: list[str] | None, file: Path | None) -> list[str]:
    """The texts of the command line, else the non-empty lines of the file or of standard input."""
    if texts:
        return texts
    try:
        lines = (file.read_text(encoding="utf-8") if file else sys.stdin.read()).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"cannot read {file or 'standard input'}: {error}") from None
    filled = [line for line in lines if line.strip()]
    if not filled:
        raise InvalidRequest("there is no text to classify")
    return filled


def _merge(replies: list[dict[str, Any]]) -> dict[str, Any]:
    """One reply, as if all texts had been sent in one request: items renumbered, usage summed."""
    merged = dict(replies[0])
    data = [item for reply in replies for item in reply["data"]]
    merged["data"] = [{**item, "index": index} for index, item in enumerate(data)]
    merged["usage"] = {
        key: sum(reply["usage"][key] for reply in replies)
        for key, value in (replies[0].get("usage") or {}).items()
        if isinstance(value, int)
    }
    return merged


def label_and_score(item: dict[str, Any], top_k: int | None = None) -> tuple[str, str]:
    """The cells of one text's row: its label or labels with their scores, or "" and a regression's value."""
    if item.get("value") is not None:
        return "", f"{item['value']:.4f}"
    scores = {entry["label"]: entry["score"] for entry in item.get("scores") or []}
    if item.get("labels") is not None and not top_k:
        return " ".join(item["labels"]) or "-", " ".join(f"{scores.get(label, 0.0):.3f}" for label in item["labels"])
    if top_k and scores:
        return " ".join(scores), " ".join(f"{score:.3f}" for score in scores.values())
    best = scores.get(item["label"], max(item.get("probs") or [0.0]))
    return str(item["label"]), f"{best:.3f}"


def _shorten(text: Any, width: int = 70) -> str:
    shown = " | ".join(text.values()) if isinstance(text, dict) else str(text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def generate(
    prompt: Annotated[str | None, typer.Argument(help="The text to continue.", show_default="standard input")] = None,
    model: Model = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum number of tokens to generate.")] = 128,
    temperature: Annotated[
        float | None, typer.Option(help="0 always chooses the most probable token.", show_default="1")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample from the k most probable tokens only.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the smallest set of tokens with this total probability.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Exclude tokens below this fraction of the highest probability.")
    ] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Values above 1 reduce repetition.")] = None,
    seed: Annotated[int | None, typer.Option(help="Make sampling repeatable.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text. May be given several times.")] = None,
    echo: Annotated[bool, typer.Option("--echo", help="Print the prompt too.")] = False,
    as_json: Json = False,
) -> None:
    """Continue a text, and print the continuation as it is generated."""
    body: dict[str, Any] = {
        "model": chosen_model(model), "prompt": sys.stdin.read() if prompt is None else prompt,
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "seed": seed, "stop": stop or None,
    }  # fmt: skip
    body = {name: value for name, value in body.items() if value is not None}
    with connect() as client:
        if as_json:
            print_json(client.post("/v1/completions", {**body, "echo": echo} if echo else body))
            return
        if echo:
            sys.stdout.write(_printable(body["prompt"]))
        for event in client.stream("/v1/completions", {**body, "stream": True}):
            for choice in event.get("choices") or []:
                sys.stdout.write(_printable(choice.get("text") or ""))
            sys.stdout.flush()
    print()


def _printable(text: str) -> str:
    """Generated text may contain control characters: a terminal gets line feeds and printable characters only."""
    if not sys.stdout.isatty():
        return text
    return "\n".join(clean(line) for line in text.split("\n"))
