"""An introductory recurrent network that classifies handwritten digits, and reads each image row by row.

Usage: python examples/rnn_classifier.py [FOLDER]   (saves the weights as FOLDER/rnn.pt)
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
images, digits = load_digits(return_X_y=True)  # 1,797 images of 8 rows of 8 numbers from 0 to 16
x = torch.tensor(images, dtype=torch.float32).view(-1, 8, 8) / 16
y = torch.tensor(digits)


class RNNClassifier(nn.Module):
    def __init__(self, input_size, hidden_size, num_layers, num_classes):
        super().__init__()
        self.rnn = nn.RNN(input_size, hidden_size, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_size, num_classes)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.fc(out[:, -1, :])


model = RNNClassifier(input_size=8, hidden_size=64, num_layers=2, num_classes=10)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(10):
    for batch in torch.randperm(1500).split(50):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step()

accuracy = (model(x[1500:]).argmax(1) == y[1500:]).float().mean()
print(f"accuracy {accuracy:.3f}")
folder = sys.argv[1] if len(sys.argv) > 1 else "."
torch.save(model.state_dict(), f"{folder}/rnn.pt")
