"""The benchmark's trainings in PyTorch and JAX: one process, one thread, one turn a line.

usage: peers.py FOLDER

FOLDER holds what work.rs wrote. Each line of the input names a work, a peer and how many it trains
at once; the answer is one line of JSON: trainings, processor seconds, share of test rows that were
right. `versions` is answered with what is installed.
"""

import json
import os
import sys
import time
from functools import cache
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
os.environ["JAX_PLATFORMS"] = "cpu"
# JAX starts a thread for each processor that it may use.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

torch.set_num_threads(1)


class Work:
    """Sizes, and rows that are scaled already."""

    def __init__(self, folder, name):
        for key, value in json.loads((folder / f"{name}.json").read_text()).items():
            setattr(self, key, value)
        features = np.fromfile(folder / f"{name}.features", "<f4").reshape(-1, self.width)
        labels = np.fromfile(folder / f"{name}.labels", "<u4").astype(np.int64)
        if not self.hidden:
            features = features.reshape(-1, 1, 8, 8)
        self.train, self.test = features[: self.train_rows], features[self.train_rows :]
        self.train_labels = labels[: self.train_rows]
        self.test_labels = labels[self.train_rows :]

    def network(self):
        """As PyTorch's documentation writes it."""
        if self.hidden:
            one, other = self.hidden
            return nn.Sequential(
                nn.Linear(self.width, one),
                nn.ReLU(),
                nn.Linear(one, other),
                nn.ReLU(),
                nn.Linear(other, self.classes),
            )
        one, other = self.channels
        return nn.Sequential(
            nn.Conv2d(1, one, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(one, other, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(other * 16, self.classes),
        )


def one_by_one(work, _):
    """One training."""
    model = work.network()
    optimizer = torch.optim.Adam(model.parameters(), lr=work.lr)
    x, y = torch.from_numpy(work.train), torch.from_numpy(work.train_labels)
    loss = nn.CrossEntropyLoss()
    for _ in range(work.epochs):
        for rows in torch.randperm(work.train_rows).split(work.batch):
            optimizer.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        said = model(torch.from_numpy(work.test)).argmax(1)
    return (said == torch.from_numpy(work.test_labels)).float().mean().item()


def orders(work, lanes):
    """Rows of one epoch in an order of each lane: [lanes, rows] in minibatches."""
    drawn = torch.rand(lanes, work.train_rows).argsort(1)
    return drawn.split(work.batch, dim=1)


class RateALane:
    """Adam written out over stacked weights, where each lane has a rate of its own, as ours have."""

    def __init__(self, stacks, rates):
        self.stacks, self.rates, self.steps = stacks, rates, 0
        self.moments = [(torch.zeros_like(stack), torch.zeros_like(stack)) for stack in stacks]

    def zero_grad(self):
        for stack in self.stacks:
            stack.grad = None

    @torch.no_grad()
    def step(self):
        self.steps += 1
        of_mean, of_square = 1 / (1 - 0.9**self.steps), 1 / (1 - 0.999**self.steps)
        for stack, (mean, square) in zip(self.stacks, self.moments):
            mean.mul_(0.9).add_(stack.grad, alpha=0.1)
            square.mul_(0.999).addcmul_(stack.grad, stack.grad, value=0.001)
            rate = self.rates.view(-1, *[1] * (stack.dim() - 1))
            stack.sub_(rate * (mean * of_mean) / (square * of_square).sqrt_().add_(1e-8))


def rate_a_lane(work, stacks, lanes):
    return RateALane(stacks, torch.full((lanes,), work.lr))


def one_rate(work, stacks, _):
    return torch.optim.Adam(stacks, lr=work.lr, fused=True)


def batched_by_hand(work, lanes, adam=rate_a_lane):
    """Dense layers of all lanes as one batched product each; Adam over their stacked weights."""
    x, y = torch.from_numpy(work.train), torch.from_numpy(work.train_labels)
    each = zip(*(work.network().parameters() for _ in range(lanes)))
    stacks = [torch.stack([part.detach() for part in parts]) for parts in each]
    # A linear layer has its weights [outputs, inputs].
    weights = [stack.transpose(1, 2).contiguous().requires_grad_() for stack in stacks[::2]]
    biases = [stack.unsqueeze(1).requires_grad_() for stack in stacks[1::2]]
    layers = list(zip(weights, biases))
    optimizer = adam(work, weights + biases, lanes)

    def forward(x):
        for weights, biases in layers[:-1]:
            x = torch.baddbmm(biases, x, weights).relu()
        return torch.baddbmm(layers[-1][1], x, layers[-1][0])

    for _ in range(work.epochs):
        for rows in orders(work, lanes):
            optimizer.zero_grad()
            said = forward(x[rows]).flatten(0, 1)
            # The sum over lanes of their means: no lane moves another.
            loss = functional.cross_entropy(said, y[rows].flatten(), reduction="sum")
            (loss / rows.shape[1]).backward()
            optimizer.step()
    with torch.no_grad():
        said = forward(torch.from_numpy(work.test).expand(lanes, -1, -1)).argmax(2)
    return (said == torch.from_numpy(work.test_labels)).float().mean().item()


def by_torch_func(work, lanes):
    """`vmap` of `grad` over stacked modules; Adam over their stacked weights."""
    x, y = torch.from_numpy(work.train), torch.from_numpy(work.train_labels)
    model = work.network()
    stacked, _ = stack_module_state([work.network() for _ in range(lanes)])
    optimizer = torch.optim.Adam(stacked.values(), lr=work.lr, fused=True)

    def loss(parameters, x, y):
        return functional.cross_entropy(functional_call(model, parameters, (x,)), y)

    gradients = vmap(grad(loss))
    for _ in range(work.epochs):
        for rows in orders(work, lanes):
            values = {name: value.detach() for name, value in stacked.items()}
            for name, gradient in gradients(values, x[rows], y[rows]).items():
                stacked[name].grad = gradient
            optimizer.step()
    with torch.no_grad():
        test = torch.from_numpy(work.test)
        said = vmap(lambda p: functional_call(model, p, (test,)).argmax(1))(dict(stacked))
    return (said == torch.from_numpy(work.test_labels)).float().mean().item()


@cache
def compiled(work):
    """All steps of one training as one scan, over lanes by `vmap`, compiled."""
    x, y = jnp.asarray(work.train), jnp.asarray(work.train_labels.astype(np.int32))
    if not work.hidden:
        x = x.reshape(-1, 8, 8, 1)

    def convolved(x, weights, biases, stride):
        shapes = ("NHWC", "HWIO", "NHWC")
        around = [(1, 1), (1, 1)]
        said = jax.lax.conv_general_dilated(
            x, weights, (stride, stride), around, dimension_numbers=shapes
        )
        return jax.nn.relu(said + biases)

    def forward(p, x):
        if work.hidden:
            x = jax.nn.relu(x @ p[0] + p[1])
            x = jax.nn.relu(x @ p[2] + p[3])
        else:
            x = convolved(convolved(x, p[0], p[1], 1), p[2], p[3], 2)
            x = x.reshape(x.shape[0], -1)
        return x @ p[4] + p[5]

    def loss(p, x, y, weights):
        logs = jax.nn.log_softmax(forward(p, x))
        return -(jnp.take_along_axis(logs, y[:, None], 1)[:, 0] * weights).sum()

    def step(state, minibatch):
        p, m, v, t = state
        rows, weights = minibatch
        t = t + 1
        g = jax.grad(loss)(p, x[rows], y[rows], weights)
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g)]
        v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g)]
        c, d = 1 / (1 - 0.9**t), 1 / (1 - 0.999**t)
        moved = zip(p, m, v)
        p = [a - work.lr * (b * c) / (jnp.sqrt(s * d) + 1e-8) for a, b, s in moved]
        return (p, m, v, t), None

    def train(p, rows, weights, test):
        zeros = [jnp.zeros_like(a) for a in p]
        (p, *_), _ = jax.lax.scan(step, (p, zeros, zeros, jnp.float32(0)), (rows, weights))
        return forward(p, test).argmax(1)

    return jax.jit(jax.vmap(train, in_axes=(0, 0, None, None)))


def by_jax(work, lanes):
    rng = np.random.default_rng()
    if work.hidden:
        sizes = [work.width, *work.hidden, work.classes]
        shapes = [((a, b), a) for a, b in zip(sizes, sizes[1:])]
    else:
        one, other = work.channels
        shapes = [((3, 3, 1, one), 9), ((3, 3, one, other), 9 * one)]
        shapes.append(((other * 16, work.classes), other * 16))
    parameters = []
    for shape, inputs in shapes:
        for each in (shape, shape[-1:]):
            drawn = rng.uniform(-1, 1, (lanes, *each)) / np.sqrt(inputs)
            parameters.append(drawn.astype(np.float32))
    # The last minibatch is as long as the others; what is not there weighs nothing.
    steps = -(-work.train_rows // work.batch)
    orders = rng.permuted(np.tile(np.arange(work.train_rows), (lanes * work.epochs, 1)), axis=1)
    rows = np.zeros((lanes * work.epochs, steps * work.batch), np.int32)
    rows[:, : work.train_rows] = orders
    weights = np.zeros(steps * work.batch, np.float32)
    weights[: work.train_rows] = 1
    weights = weights.reshape(steps, work.batch)
    weights = np.tile(weights / weights.sum(1, keepdims=True), (work.epochs, 1))
    test = work.test if work.hidden else work.test.reshape(-1, 8, 8, 1)
    said = compiled(work)(parameters, rows.reshape(lanes, -1, work.batch), weights, test)
    return float((np.asarray(said) == work.test_labels).mean())


PEERS = {
    "torch": one_by_one,
    "baddbmm": batched_by_hand,
    "fused": lambda work, lanes: batched_by_hand(work, lanes, one_rate),
    "func": by_torch_func,
    "jax": by_jax,
}


def main():
    folder = Path(sys.argv[1])
    works = {name: Work(folder, name) for name in ("mlp", "cnn")}
    for line in sys.stdin:
        if line.strip() == "versions":
            print(f"PyTorch {torch.__version__}, JAX {jax.__version__}", flush=True)
            continue
        work, peer, lanes = line.split()
        begun = time.process_time()
        accuracy = PEERS[peer](works[work], int(lanes))
        cpu_s = time.process_time() - begun
        print(json.dumps(dict(trainings=int(lanes), cpu_s=cpu_s, accuracy=accuracy)), flush=True)


if __name__ == "__main__":
    main()
