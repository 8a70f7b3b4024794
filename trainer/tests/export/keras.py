"""Computes the logits of exported weights with Keras."""

import pathlib
import sys

# This file's own folder would be found first under the name keras.
sys.path.pop(0)

import numpy
import keras
from keras import layers

folder = pathlib.Path(sys.argv[1])
model = keras.Sequential(
    [
        keras.Input((12, 10, 3)),
        layers.Conv2D(6, 3, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(2),
        layers.Conv2D(5, 3),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(20),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Dropout(0.3),
        layers.Dense(4),
    ]
)
arrays = numpy.load(folder / "weights.npz")
model.set_weights([arrays[name] for name in arrays.files])
expected = numpy.load(folder / "expected.npz")
images = expected["images"].transpose(0, 2, 3, 1)
difference = numpy.abs(model(images, training=False).numpy() - expected["logits"]).max()
print(f"largest difference of a logit: {difference:.2e}")
sys.exit(not difference <= 1e-4)
