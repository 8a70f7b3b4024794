"""Computes the logits of exported weights with PyTorch."""

import json
import pathlib
import sys

import numpy
import torch
from torch import nn


def load(path):
    """A safetensors file of float32 tensors, without the package for it."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    data = content[8 + length :]
    return {
        name: torch.tensor(
            numpy.frombuffer(data[slice(*own["data_offsets"])], "<f4").reshape(own["shape"])
        )
        for name, own in header.items()
    }


folder = pathlib.Path(sys.argv[1])
model = nn.Sequential(
    nn.Conv2d(3, 6, 3, padding="same"),
    nn.BatchNorm2d(6, eps=1e-3),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(6, 5, 3),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(60, 20),
    nn.BatchNorm1d(20, eps=1e-3),
    nn.ReLU(),
    nn.Dropout(0.3),
    nn.Linear(20, 4),
)
model.load_state_dict(load(folder / "weights.safetensors"))
model.eval()
expected = numpy.load(folder / "expected.npz")
with torch.no_grad():
    logits = model(torch.tensor(expected["images"])).numpy()
difference = numpy.abs(logits - expected["logits"]).max()
print(f"largest difference of a logit: {difference:.2e}")
sys.exit(not difference <= 1e-4)
