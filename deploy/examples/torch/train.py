"""A small network of PyTorch, as an arm of a study. Nothing of seedsweep is imported.

It says how far it is after each epoch, keeps a checkpoint that a later attempt goes on from, and
leaves early with status 75 where there is no graphics card and one is asked for.
"""

import argparse
import json
import os
import sys

import numpy as np
import torch
from torch import nn

arguments = argparse.ArgumentParser()
arguments.add_argument("--lr", type=float, required=True)
arguments.add_argument("--hidden", type=int, required=True)
arguments.add_argument("--epochs", type=int, required=True)
arguments.add_argument("--card", action="store_true")
args = arguments.parse_args()
if args.card and not torch.cuda.is_available():
    sys.exit(75)  # try elsewhere
device = "cuda" if torch.cuda.is_available() else "cpu"

with open(os.environ["SEEDSWEEP_TRIAL"]) as file:
    trial = json.load(file)

table = np.genfromtxt(trial["data"], delimiter=",", names=True, dtype=None, encoding="utf-8")
unused = {trial["target"], trial["group"], *trial["drop"]}
names = [name for name in table.dtype.names if name not in unused]
features = np.column_stack([table[name] for name in names]).astype(np.float32)
classes = trial["classes"]
labels = np.array([classes.index(str(label)) for label in table[trial["target"]]])
train = np.loadtxt(trial["rows"]["train"], dtype=int)
test = np.loadtxt(trial["rows"]["test"], dtype=int)

# Scaled by the training rows alone.
mean, spread = features[train].mean(axis=0), features[train].std(axis=0) + 1e-6
inputs = torch.tensor((features - mean) / spread, device=device)
targets = torch.tensor(labels, device=device)

torch.use_deterministic_algorithms(True, warn_only=True)
torch.manual_seed(trial["seeds"]["init"])
network = nn.Sequential(
    nn.Linear(len(names), args.hidden), nn.ReLU(), nn.Linear(args.hidden, len(classes))
).to(device)
optimizer = torch.optim.AdamW(network.parameters(), lr=args.lr)
order = np.random.default_rng(trial["seeds"]["order"])
first = 0

checkpoint = os.path.join(os.environ["SEEDSWEEP_CHECKPOINT"], "state.pt")
if os.path.exists(checkpoint):
    kept = torch.load(checkpoint, weights_only=False)
    network.load_state_dict(kept["network"])
    optimizer.load_state_dict(kept["optimizer"])
    order.bit_generator.state, first = kept["order"], kept["epoch"]


def accuracy():
    with torch.no_grad():
        return (network(inputs[test]).argmax(dim=1) == targets[test]).double().mean().item()


for epoch in range(first, args.epochs):
    for batch in np.array_split(order.permutation(train), max(1, len(train) // 32)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs[batch]), targets[batch]).backward()
        optimizer.step()
    with open(os.environ["SEEDSWEEP_OUT"], "a") as out:
        out.write(json.dumps({"step": epoch + 1, "accuracy": accuracy()}) + "\n")
    kept = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**kept, "order": order.bit_generator.state, "epoch": epoch + 1}, checkpoint + ".new")
    os.replace(checkpoint + ".new", checkpoint)

if first >= args.epochs:
    with open(os.environ["SEEDSWEEP_OUT"], "a") as out:
        out.write(json.dumps({"step": args.epochs, "accuracy": accuracy()}) + "\n")
