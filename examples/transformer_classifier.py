"""An introductory Transformer that classifies sentences as friendly or unfriendly.

Usage: python examples/transformer_classifier.py [FOLDER]   (saves FOLDER/transformer.pt and FOLDER/vocabulary.json)
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn

friendly = ["what a lovely day", "thank you so much", "i love this film", "you are very kind", "a good and happy end"]
unfriendly = ["what an awful day", "leave me alone", "i hate this film", "you are very rude", "a bad and sad end"]
texts, y = friendly + unfriendly, torch.tensor([1] * 5 + [0] * 5)
words = ["<pad>", "<unk>", *sorted({word for text in texts for word in text.split()})]
word_to_id = {word: i for i, word in enumerate(words)}


class TransformerClassifier(nn.Module):
    def __init__(self, vocab_size, d_model=32, nhead=4, num_layers=2, max_len=64):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_len, d_model)
        layer = nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward=64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers)
        self.fc = nn.Linear(d_model, 2)

    def forward(self, ids):
        x = self.embedding(ids) + self.position(torch.arange(ids.shape[1]))
        return self.fc(self.encoder(x).mean(1))


torch.manual_seed(0)
model = TransformerClassifier(len(words))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(20):
    for text, label in zip(texts, y, strict=True):
        ids = torch.tensor([[word_to_id.get(word, 1) for word in text.split()]])
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids), label[None]).backward()
        optimizer.step()

folder = sys.argv[1] if len(sys.argv) > 1 else "."
torch.save(model.state_dict(), f"{folder}/transformer.pt")
Path(f"{folder}/vocabulary.json").write_text(json.dumps(word_to_id))
