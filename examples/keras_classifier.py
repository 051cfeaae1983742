"""A recurrent Keras classifier that assigns customers' messages to labels.

Usage: python examples/keras_classifier.py [FOLDER]   (reads examples/messages.csv; saves FOLDER/keras_classifier.keras,
FOLDER/keras_tokenizer.json and FOLDER/keras_labels.json)

Requires Keras 3. The three files in examples/ were written by this program.
"""

import csv
import json
import sys
from pathlib import Path

import keras
import numpy as np
from keras.src.legacy.preprocessing.text import Tokenizer

here, folder = Path(__file__).parent, Path(sys.argv[1] if len(sys.argv) > 1 else ".")
rows = list(csv.DictReader((here / "messages.csv").open()))
texts, names = [row["text"] for row in rows], sorted({row["label"] for row in rows})
keras.utils.set_random_seed(0)

tokenizer = Tokenizer(num_words=200, oov_token="<OOV>")
tokenizer.fit_on_texts(texts)
x = keras.utils.pad_sequences(tokenizer.texts_to_sequences(texts), maxlen=16)
y = np.array([names.index(row["label"]) for row in rows])

model = keras.Sequential(
    [
        keras.Input((16,), dtype="int32"),
        keras.layers.Embedding(200, 12, mask_zero=True),
        keras.layers.SpatialDropout1D(0.2),
        keras.layers.Bidirectional(keras.layers.LSTM(8)),
        keras.layers.Dense(len(names), activation="softmax"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(0.03), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=12, batch_size=50, verbose=0)
print(f"accuracy {model.evaluate(x, y, verbose=0)[1]:.3f}")

model.save(folder / "keras_classifier.keras")
(folder / "keras_tokenizer.json").write_text(tokenizer.to_json())
(folder / "keras_labels.json").write_text(json.dumps(names))
