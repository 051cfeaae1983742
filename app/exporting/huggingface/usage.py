"""The beginning of the README.md of an exported directory, which shows how to run the model."""

from __future__ import annotations

from app.exporting.huggingface.directory_content import DirectoryContent
from app.exporting.source_version import SourceVersion

GENERATION = """\
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

model, tokenizer = AutoModelForCausalLM.from_pretrained("."), PreTrainedTokenizerFast.from_pretrained(".")
ids = tokenizer("Once", return_tensors="pt", return_token_type_ids=False)
print(tokenizer.decode(model.generate(**ids, max_new_tokens=20)[0]))
"""
CLASSIFIER = """\
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

model = AutoModelForSequenceClassification.from_pretrained(".").eval()
tokenizer = PreTrainedTokenizerFast.from_pretrained(".")
logits = model(**tokenizer(["a text"], return_tensors="pt", padding=True)).logits
"""
SENTENCES = """\
from sentence_transformers import SentenceTransformer

{result} = SentenceTransformer(".", device="cpu").encode(["a text"])
"""


def usage(version: SourceVersion, content: DirectoryContent) -> str:
    """Return Markdown with a program that runs the model."""
    task = version.config.task
    if content.modules is not None:
        code = SENTENCES.format(result="embeddings" if task == "embedding" else "logits")
    else:
        code = GENERATION if task == "generation" else CLASSIFIER
    lines = ["# How to run this model", "", "```python", *code.rstrip().splitlines(), "```", ""]
    if task in ("classification", "multilabel"):
        lines += [
            f"The {_ending(task)} of the logits is the probability of each label: {', '.join(version.labels)}.",
            "",
        ]
    return "\n".join(lines)


def _ending(task: str) -> str:
    return "softmax" if task == "classification" else "sigmoid"
