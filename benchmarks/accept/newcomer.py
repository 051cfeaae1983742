"""Simulates a newcomer's first hour with the service: an untidy table, an LSTM from a tutorial, and conversations.

Runs `ostinato` commands against a running service, and checks the warnings and the answers.
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accept.record import Record
from benchmarks.service import OSTINATO, Service, running

TOPICS = {
    "Hardware": ("der Drucker druckt nicht mehr", "the screen stays black", "my keyboard is broken"),
    "Billing": ("I was charged twice", "where is my invoice", "die Rechnung ist falsch"),
    "Travel": ("the flight was cancelled", "please book a hotel", "der Zug fällt aus"),
}
QUESTIONS = {"the screen of the laptop is black": "Hardware", "I need an invoice": "Billing", "book a flight": "Travel"}
CHATS = {"Where is the fox?": "In the forest.", "Who sings?": "The crow.", "When is dinner?": "At six."}
TUTORIAL = """
import json, sys
import torch
from torch import nn

class Sentiment(nn.Module):
    def __init__(self, words):
        super().__init__()
        self.embedding = nn.Embedding(words, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 32, batch_first=True)
        self.fc = nn.Linear(32, 2)

    def forward(self, x):
        out, _ = self.lstm(self.embedding(x))
        return self.fc(out[:, -1])

torch.manual_seed(0)
good, bad = "great lovely wonderful superb".split(), "awful boring terrible bad".split()
data = [(f"what a {word} film it was", label) for label, words in enumerate((bad, good)) for word in words]
words = ["<pad>", "<unk>", *sorted({word for text, _ in data for word in text.split()})]
encode = lambda text: torch.tensor([[words.index(w) if w in words else 1 for w in text.lower().split()]])
model = Sentiment(len(words))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for epoch in range(30):
    for text, label in data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(encode(text)), torch.tensor([label])).backward()
        optimizer.step()
torch.save(model.state_dict(), "lstm.pt")
json.dump(words, open("words.json", "w"))
model.eval()
print(json.dumps([torch.softmax(model(encode(text)), -1)[0].tolist() for text in sys.argv[1:]]))
"""
REVIEWS = ("What a lovely film it was", "what a boring evening it was", "a superb cast")


class Shell:
    """Runs commands in a folder, as in a terminal next to the service. Collects what they print in `transcript`."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.folder, self.transcript = folder, ""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OSTINATO_")}
        self.environment = kept | {"OSTINATO_URL": service.url, "COLUMNS": "200"}

    def run(self, command: Sequence[str], stdin: str = "") -> tuple[int, str]:
        """Run a command with the text `stdin` on standard input. Returns its exit status and all that it prints."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, input=stdin, text=True, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.transcript += f"$ {shlex.join([Path(command[0]).name, *command[1:]])}\n{done.stdout}"
        return done.returncode, done.stdout

    def ostinato(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        return self.run([*OSTINATO, *arguments], stdin)


def write_table(path: Path) -> None:
    """Write a table as Excel saves it in Europe: semicolons, cp1252, sorted by label, with inconsistent labels."""
    draw, lines = random.Random(0), ["Text;Category;Unnamed: 2"]
    for topic, texts in TOPICS.items():
        for number in range(60):
            text = f"{draw.choice(('Hello', 'Hallo', 'Hi'))}, {draw.choice(texts)}{draw.choice(('', '.', '!'))}"
            label = topic.lower() if topic == "Hardware" and number < 5 else f"{topic} " * (number % 2) or topic
            lines.append(f'"{text} ({number})"; "{label.rstrip()}";')
    lines += ["a row that nobody has labelled;;", ";;", ";;"]
    path.write_bytes("\r\n".join(lines).encode("cp1252") + b"\r\n")


def write_chats(path: Path) -> None:
    """Write conversations as a program would log them. Some end with a message with a tool call but no content."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(200):
            messages: list[dict[str, object]] = [{"role": "system", "content": f"You are helper {number}."}]
            for question in draw.sample(list(CHATS), 2):
                messages += [{"role": "user", "content": question}, {"role": "assistant", "content": CHATS[question]}]
            if number % 20 == 0:
                call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            file.write(json.dumps({"messages": messages}) + "\n")


def check_table(record: Record, shell: Shell) -> None:
    write_table(shell.folder / "support.csv")
    train = ("train", "support.csv", "--name", "support", "--model", "linear", "--seed", "1")
    status, printed = shell.ostinato(*train)
    record.equal("a bad row is refused before the upload", (status, "nothing was uploaded" in printed), (1, True))
    record.equal("its line is named", "support.csv, line 182" in printed, True)
    proposed = re.search(r"--skip-bad-rows (?:to )?([\d.]*\d)", printed)
    record.equal("it proposes how to leave it out", proposed is not None, True)
    status, printed = shell.ostinato(*train, "--skip-bad-rows", proposed[1] if proposed else "0.01")
    record.equal("the table trains a version", (status, "support:1 is ready" in printed), (0, True))
    for phrase in ("cp1252", "'Category'", "differ only in case", "left out"):
        record.equal(f"says: {phrase}", phrase in printed, True)
    status, printed = shell.ostinato("classify", "--model", "support", "--json", *QUESTIONS)
    answers = [item["label"] for item in json.loads(printed)["data"]] if status == 0 else []
    record.equal("its answers", answers, list(QUESTIONS.values()))


def check_lstm(record: Record, shell: Shell) -> None:
    (shell.folder / "tutorial.py").write_text(TUTORIAL)
    _, printed = shell.run([sys.executable, "tutorial.py", *REVIEWS])
    own = json.loads(printed)
    status, printed = shell.ostinato("import", "lstm.pt", "--name", "tutorial", "--allow-pickle-tensors")
    command = printed.splitlines()[-1].strip()
    record.equal("the questions end with a command", (status, command.startswith("ostinato import")), (1, True))
    for question, answer in (
        ("--labels ...", "--labels bad,good"), ("--vocabulary ...", "--vocabulary words.json"),
        ("pooling=...", "pooling=last"), ("split=...", "split=whitespace"), ("lowercase=...", "lowercase=yes"),
        ("unknown=...", "unknown=<unk>"), ("first_id=...", "first_id=0"), ("around=...", "around=none"),
    ):  # fmt: skip
        command = command.replace(question, answer)
    status, printed = shell.ostinato(*shlex.split(command)[1:])
    phrases = ("assumed ", "computes ", "your program must give the same result")
    record.equal(
        "the import says what it assumes", (status, [phrase for phrase in phrases if phrase not in printed]), (0, [])
    )
    status, printed = shell.ostinato("classify", "--model", "tutorial", "--json", *REVIEWS)
    served = [item["probs"] for item in json.loads(printed)["data"]] if status == 0 else [[9.0, 9.0]] * len(own)
    gap = max(abs(a - b) for x, y in zip(own, served, strict=True) for a, b in zip(x, y, strict=True))
    record.at_most("largest difference from the program's probabilities", gap, 1e-4)


def check_chats(record: Record, shell: Shell) -> None:
    write_chats(shell.folder / "chats.jsonl")
    train = ("train", "chats.jsonl", "--model", "transformer", "--name", "helper", "--max-steps", "60", "--seed", "1")
    status, printed = shell.ostinato(*train)
    record.equal("the conversations train a version", (status, "ostinato chat helper:1" in printed), (0, True))
    record.equal("says: tool calls", "tool" in printed, True)
    _, printed = shell.ostinato("chat", "helper", "--temperature", "0", stdin="".join(f"{q}\n" for q in CHATS))
    record.equal("its answers", [line.strip() for line in printed.splitlines()], list(CHATS.values()))


def check(record: Record, data: Path | None, folder: Path) -> None:
    with running(folder / "data") as service:
        shell = Shell(service, folder)
        for part in (check_table, check_lstm, check_chats):
            try:
                part(record, shell)
            finally:
                record.notes["transcript"] = shell.transcript
