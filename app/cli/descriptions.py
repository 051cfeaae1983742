"""Completes the help of the commands: joins the lines of each paragraph, and adds an example."""

from __future__ import annotations

import inspect
import re

import typer

EXAMPLES = {
    "up": "ostinato up --demo --port 8080",
    "top": "ostinato top --once",
    "ps": "ostinato ps --data-dir ./ostinato-data",
    "fsck": "ostinato fsck --quick",
    "keys": "ostinato keys ann",
    "doctor": "ostinato doctor",
    "train": "ostinato train reviews.csv --model lstm --name mood --text-column comment --label-column stars",
    "evaluate": "ostinato evaluate mood:2 new-reviews.csv --against mood:1 --output predictions.csv",
    "classify": "ostinato classify --model mood --file in.csv --output out.csv --text-column comment",
    "generate": "ostinato generate --model tales --max-tokens 50 --temperature 0.8 'Once upon a time'",
    "embed": "ostinato embed --model mood 'a good day' 'a bad day'",
    "chat": "ostinato chat helper --system 'Answer in one sentence.'",
    "import": "ostinato import model.safetensors --name mood --vocabulary vocab.json --labels bad,good",
    "export": "ostinato export mood@champion --format onnx --output mood-onnx",
    "models list": "ostinato models list --task classification --search mood",
    "models versions": "ostinato models versions mood",
    "models show": "ostinato models show mood:2",
    "models search": "ostinato models search --task classification --metric test.macro_f1 --minimum 0.8",
    "models compare": "ostinato models compare mood:1 mood:2",
    "models alias": "ostinato models alias mood champion 2",
    "models unalias": "ostinato models unalias mood canary",
    "models history": "ostinato models history mood champion",
    "models delete": "ostinato models delete mood:1",
    "jobs list": "ostinato jobs list --limit 50 --trials",
    "jobs show": "ostinato jobs show ftjob-3f2a",
    "jobs follow": "ostinato jobs follow ftjob-3f2a",
    "jobs events": "ostinato jobs events ftjob-3f2a --limit 100",
    "jobs checkpoints": "ostinato jobs checkpoints ftjob-3f2a",
    "jobs cancel": "ostinato jobs cancel ftjob-3f2a ftjob-91cc",
    "jobs pause": "ostinato jobs pause ftjob-3f2a",
    "jobs resume": "ostinato jobs resume ftjob-3f2a",
    "files upload": "ostinato files upload reviews.csv",
    "files show": "ostinato files show file-3f2a",
    "files download": "ostinato files download file-3f2a --output reviews.csv",
    "files delete": "ostinato files delete file-3f2a",
    "batches create": "ostinato batches create requests.jsonl --endpoint /v1/classify",
    "batches show": "ostinato batches show batch-3f2a",
    "batches cancel": "ostinato batches cancel batch-3f2a",
    "webhooks create": "ostinato webhooks create https://example.com/hook --event batch.completed",
    "webhooks rotate-secret": "ostinato webhooks rotate-secret whe-3f2a --keep-old",
    "webhooks test": "ostinato webhooks test whe-3f2a --event batch.failed",
    "webhooks delete": "ostinato webhooks delete whe-3f2a",
    "registry gc": "ostinato registry gc --dry-run",
}
FIRST_STEPS = (
    "First steps: start the service and a demo with `ostinato up --demo`. In a second terminal in the same folder, "
    "train a model with `ostinato train reviews.csv --name mood`, and use it with `ostinato classify --model mood "
    "'a good day'`. The commands connect to the service on this machine, or to the one at OSTINATO_URL; `ostinato "
    "settings` lists all variables."
)


def describe(program: typer.Typer, path: tuple[str, ...] = ()) -> None:
    """Set the help of all commands of a program, from their docstrings and examples."""
    for command in program.registered_commands:
        if command.callback is not None:
            names = (*path, command.name or command.callback.__name__.replace("_", "-"))
            command.help = _help(inspect.getdoc(command.callback) or "", EXAMPLES.get(" ".join(names)))
    for group in program.registered_groups:
        if group.typer_instance is not None:
            describe(group.typer_instance, (*path, group.name or ""))


def _help(docstring: str, example: str | None) -> str:
    paragraphs = [re.sub(r"\s*\n\s*", " ", paragraph) for paragraph in docstring.split("\n\n")]
    return "\n\n".join([*paragraphs, *([f"Example: {example}"] if example else [])])
