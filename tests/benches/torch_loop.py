"""The benchmark's training in PyTorch, as its documentation writes it: one process, one thread.

usage: torch_loop.py SECONDS

Prints one line of JSON. The shape is the one of trainings.rs: change both.
"""

import json
import sys
import time

import numpy as np
import torch
from torch import nn

ROWS, TRAIN_ROWS, FEATURES, HIDDEN, CLASSES = 569, 455, 30, 32, 2
BATCH, EPOCHS, LR = 32, 30, 1e-3


def train(features, labels, seed):
    torch.manual_seed(seed)
    order = torch.randperm(ROWS)
    train_rows, test_rows = order[:TRAIN_ROWS], order[TRAIN_ROWS:]
    mean, sd = features[train_rows].mean(0), features[train_rows].std(0)
    x, y = (features[train_rows] - mean) / sd, labels[train_rows]
    model = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    loss = nn.CrossEntropyLoss()
    for _ in range(EPOCHS):
        for rows in torch.randperm(TRAIN_ROWS).split(BATCH):
            optimizer.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        probabilities = model((features[test_rows] - mean) / sd).softmax(1)
    return (probabilities.argmax(1) == labels[test_rows]).float().mean().item()


def main():
    seconds = float(sys.argv[1])
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, ROWS)
    features = rng.normal(size=(ROWS, FEATURES)) + labels[:, None]
    features = torch.tensor(features, dtype=torch.float32)
    labels = torch.tensor(labels)
    train(features, labels, 0)
    wall, cpu, trainings, accuracy = time.perf_counter(), time.process_time(), 0, 0.0
    while time.perf_counter() - wall < seconds:
        trainings += 1
        accuracy += train(features, labels, trainings)
    print(
        json.dumps(
            {
                "name": f"PyTorch {torch.__version__}, one by one",
                "trainings": trainings,
                "wall_s": time.perf_counter() - wall,
                "cpu_s": time.process_time() - cpu,
                "accuracy": accuracy / trainings,
            }
        )
    )


if __name__ == "__main__":
    main()
