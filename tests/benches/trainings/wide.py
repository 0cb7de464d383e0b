"""One network of every model on one device, in PyTorch and JAX: one process, one turn a line.

usage: wide.py FOLDER DEVICE

FOLDER holds what work.rs wrote; DEVICE is `cpu`, where one thread works, or such as `cuda:0`. Each line
of the input names a work, a peer and how many it trains at once, with tabs between; the answer is one
line of JSON: trainings and wall seconds, or why there are none. `versions` is answered with what is
installed. Batch norm has no running averages here, which spares the peers some work.
"""

import json
import math
import os
import sys
import time
from functools import cache
from pathlib import Path

FOLDER, DEVICE = Path(sys.argv[1]), sys.argv[2]
if DEVICE == "cpu":
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    os.environ["JAX_PLATFORMS"] = "cpu"
    # JAX starts a thread for each processor that it may use.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
else:
    # The card is shared with the other peers.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["CUDA_VISIBLE_DEVICES"] = DEVICE.removeprefix("cuda:")

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional as F

PLACE = torch.device("cpu" if DEVICE == "cpu" else "cuda:0")
if DEVICE == "cpu":
    torch.set_num_threads(1)


def layers_of(work):
    """The network as a list of layers: a name and sizes each."""
    channels, outputs = work.channels, work.classes
    if work.model in ("linear", "mlp"):
        sizes = [work.width, *work.hidden]
        hidden = [part for a, b in zip(sizes, sizes[1:]) for part in (("dense", a, b), ("relu",))]
        return [*hidden, ("dense", sizes[-1], outputs)]
    if work.model == "transformer":
        wide = work.token_width
        attention = [("layer", wide), ("dense", wide, 3 * wide), ("attend", work.heads)]
        attention.append(("dense", wide, wide))
        after = [("layer", wide), ("dense", wide, 2 * wide), ("relu",), ("dense", 2 * wide, wide)]
        block = [("residual", attention, []), ("residual", after, [])]
        begin = [("dense", work.shape[1] * work.shape[2], wide), ("places", work.shape[0], wide)]
        end = [("layer", wide), ("mean_tokens",), ("dense", wide, outputs)]
        return [*begin, *block * work.blocks, *end]
    given = work.shape[2]
    if work.model == "cnn":
        one, other = channels
        pixels = work.shape[0] // 2 * (work.shape[1] // 2)
        first = [("conv", given, one, 3, 1, True), ("relu",)]
        second = [("conv", one, other, 3, 2, True), ("relu",)]
        return [*first, *second, ("flat", other), ("dense", other * pixels, outputs)]
    if work.model == "resnet":
        built, last = normed(given, channels[0]), channels[0]
        for stage, own in enumerate(channels):
            for block in range(work.blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                body = [*normed(last, own, stride), ("conv", own, own, 3, 1, False), ("batch", own)]
                same = stride == 1 and last == own
                short = [] if same else [("conv", last, own, 1, stride, False), ("batch", own)]
                built += [("residual", body, short), ("relu",)]
                last = own
        return [*built, ("mean_pixels", last), ("dense", last, outputs)]
    return [*level(given, channels), ("conv", channels[0], outputs, 1, 1, True)]


def normed(given, own, stride=1):
    return [("conv", given, own, 3, stride, False), ("batch", own), ("relu",)]


def level(given, channels):
    """A level of a U-Net and all below it."""
    own, *below = channels
    down = [*normed(given, own), *normed(own, own)]
    if not below:
        return down
    body = [("pool",), *level(own, below), ("up", below[0], own)]
    return [*down, ("beside", body, own), *normed(2 * own, own), *normed(own, own)]


def parameters_of(layers):
    """Of each parameter: its kind, its shape in JAX, and how far from 0 its first values reach."""
    for name, *sizes in layers:
        if name == "dense":
            bound = 1 / math.sqrt(sizes[0])
            yield from (("dense", sizes, bound), ("row", sizes[1:], bound))
        elif name == "conv":
            given, own, side, _, biased = sizes
            bound = 1 / math.sqrt(side * side * given)
            yield "conv", (side, side, given, own), bound
            if biased:
                yield "channel", (own,), bound
        elif name == "up":
            given, own = sizes
            bound = 1 / math.sqrt(4 * own)
            yield from (("up", (2, 2, given, own), bound), ("channel", (own,), bound))
        elif name in ("batch", "layer"):
            kind = "channel" if name == "batch" else "row"
            yield from ((kind, sizes, None), (kind, sizes, 0.0))
        elif name == "places":
            yield "places", sizes, 0.02
        elif name in ("residual", "beside"):
            for inner in sizes:
                if isinstance(inner, list):
                    yield from parameters_of(inner)


class Work:
    """Sizes, and rows that are scaled already."""

    def __init__(self, name):
        for key, value in json.loads((FOLDER / f"{name}.json").read_text()).items():
            setattr(self, key, value)
        features = np.fromfile(FOLDER / f"{name}.features", "<f4").reshape(-1, *self.shape)
        if self.model == "transformer":
            features = features.reshape(-1, self.shape[0], self.shape[1] * self.shape[2])
        labels = np.fromfile(FOLDER / f"{name}.labels", "<u4").astype(np.int64)
        masks = self.model == "unet"
        labels = labels.reshape(-1, *self.shape[:2]) if masks else labels
        cut = self.train_rows
        self.train, self.test = features[:cut], features[cut:]
        self.train_labels, self.test_labels = labels[:cut], labels[cut:]
        self.layers = layers_of(self)
        self.images = self.model in ("cnn", "resnet", "unet")
        self.steps = self.epochs * (self.train_rows // self.batch)

    @cache
    def on_place(self):
        """Training rows and labels, test rows and labels; images with their channels first."""
        turned = (lambda x: np.moveaxis(x, -1, 1).copy()) if self.images else (lambda x: x)
        rows = (turned(self.train), self.train_labels, turned(self.test), self.test_labels)
        return [torch.from_numpy(part).to(PLACE) for part in rows]


def first_values(work, lanes):
    """Kind and [lanes, ...] of each parameter, as JAX has them; scales of norms are 1."""
    rng = np.random.default_rng()
    for kind, shape, bound in parameters_of(work.layers):
        if bound is None:
            values = np.ones((lanes, *shape))
        else:
            values = rng.uniform(-bound, bound, (lanes, *shape))
        yield kind, values.astype(np.float32)


class Network:
    """PyTorch: one network (`lanes` None) by its usual functions, or so many side by side by hand: a
    dense layer is one batched product, a convolution has a group a lane, a batch norm all channels."""

    def __init__(self, work, lanes, **how):
        self.work, self.lanes, self.groups = work, lanes, lanes or 1
        self.values = [value.to(PLACE).requires_grad_() for value in self.first()]
        self.optimizer = torch.optim.Adam(self.values, lr=work.lr, fused=True, **how)

    def first(self):
        for kind, x in first_values(self.work, self.groups):
            if kind == "conv":
                x = x.transpose(0, 4, 3, 1, 2).reshape(-1, x.shape[3], *x.shape[1:3])
            elif kind == "up":
                x = x.transpose(0, 3, 4, 1, 2).reshape(-1, x.shape[4], *x.shape[1:3])
            elif kind == "channel":
                x = x.reshape(-1)
            elif self.lanes is None:
                x = x[0].T if kind == "dense" else x[0]
            yield torch.from_numpy(np.ascontiguousarray(x))

    def say(self, x):
        """One: [rows, classes] or [rows, classes, height, width]; many: [lanes, rows, ...]."""
        if self.lanes and self.work.images:
            # [lanes, rows, channels, height, width]: a lane's channels beside another's.
            x = x.transpose(0, 1).flatten(1, 2)
        said = self.through(self.work.layers, iter(self.values), x)
        if self.lanes and self.work.model == "unet":
            said = said.unflatten(1, (self.lanes, -1)).transpose(0, 1)
        return said

    def through(self, layers, values, x):
        for layer in layers:
            x = self.layer(layer, values, x)
        return x

    def layer(self, layer, values, x):
        name, *sizes = layer
        match name:
            case "relu":
                return F.relu(x)
            case "dense":
                return self.dense(x, next(values), next(values))
            case "conv":
                weights, biases = next(values), next(values) if sizes[4] else None
                around = sizes[2] // 2
                return F.conv2d(x, weights, biases, sizes[3], around, groups=self.groups)
            case "up":
                weights, biases = next(values), next(values)
                return F.conv_transpose2d(x, weights, biases, 2, groups=self.groups)
            case "batch":
                return F.batch_norm(x, None, None, next(values), next(values), training=True)
            case "layer":
                scale, shift = next(values), next(values)
                if self.lanes is None:
                    return F.layer_norm(x, sizes, scale, shift)
                wide = (self.lanes, 1, 1, sizes[0])
                return F.layer_norm(x, sizes) * scale.view(wide) + shift.view(wide)
            case "pool":
                return F.max_pool2d(x, 2)
            case "flat":
                return self.rows(x.flatten(2).unflatten(1, (self.groups, -1)).flatten(2))
            case "mean_pixels":
                return self.rows(x.mean((2, 3)).unflatten(1, (self.groups, -1)))
            case "mean_tokens":
                return x.mean(-2)
            case "places":
                table = next(values)
                return x + (table if self.lanes is None else table.unsqueeze(1))
            case "attend":
                parts = x.unflatten(-1, (3, sizes[0], -1)).movedim(-3, 0).transpose(-3, -2)
                # Of lanes and rows together: [.., heads, tokens, of a head].
                q, k, v = (part.flatten(0, -4) for part in parts)
                said = F.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)
                return said.reshape(*x.shape[:-1], -1)
            case "residual":
                said = self.through(sizes[0], values, x)
                return said + (self.through(sizes[1], values, x) if sizes[1] else x)
            case "beside":
                said = self.through(sizes[0], values, x)
                both = [part.unflatten(1, (self.groups, -1)) for part in (x, said)]
                return torch.cat(both, 2).flatten(1, 2)

    def dense(self, x, weights, biases):
        if self.lanes is None:
            return F.linear(x, weights, biases)
        said = torch.baddbmm(biases.unsqueeze(1), x.flatten(1, -2), weights)
        return said.reshape(*x.shape[:-1], -1)

    def rows(self, x):
        """From [rows, lanes, numbers]."""
        return x.squeeze(1) if self.lanes is None else x.transpose(0, 1)

    def step(self, x, y, rows):
        """One minibatch: rows [rows] of one, [lanes, rows] of many."""
        self.optimizer.zero_grad()
        said, y = self.say(x[rows]), y[rows]
        if self.lanes is None:
            F.cross_entropy(said, y).backward()
        else:
            # The sum over lanes of their means: no lane moves another.
            loss = F.cross_entropy(said.flatten(0, 1), y.flatten(0, 1), reduction="sum")
            (loss * (self.lanes / y.numel())).backward()
        self.optimizer.step()

    def accuracy(self, x, y):
        with torch.no_grad():
            said = self.say(x if self.lanes is None else x.expand(self.lanes, *x.shape))
            classes = said.argmax(1 if self.lanes is None else 2)
            return (classes == y).float().mean().item()


def minibatches(work, lanes=None):
    for _ in range(work.epochs):
        if lanes is None:
            yield from torch.randperm(work.train_rows, device=PLACE).split(work.batch)
        else:
            drawn = torch.rand(lanes, work.train_rows, device=PLACE).argsort(1)
            yield from drawn.split(work.batch, dim=1)


def by_torch(work, _):
    x, y, *test = work.on_place()
    network = Network(work, None)
    for rows in minibatches(work):
        network.step(x, y, rows)
    return network.accuracy(*test)


def by_hand(work, lanes):
    x, y, *test = work.on_place()
    network = Network(work, lanes)
    for rows in minibatches(work, lanes):
        network.step(x, y, rows)
    return network.accuracy(*test)


@cache
def captured(work):
    """A network, its step as a CUDA graph, and the rows that it reads."""
    x, y, *_ = work.on_place()
    network = Network(work, None, capturable=True)
    rows = torch.arange(work.batch, device=PLACE)
    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):
        for _ in range(3):
            network.step(x, y, rows)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    network.optimizer.zero_grad()
    with torch.cuda.graph(graph):
        network.step(x, y, rows)
    return network, graph, rows


def by_graph(work, _):
    if PLACE.type == "cpu":
        raise Absent("a processor has no CUDA graphs")
    network, graph, place = captured(work)
    with torch.no_grad():
        for value, first in zip(network.values, network.first()):
            value.copy_(first)
        for state in network.optimizer.state.values():
            for moment in state.values():
                moment.zero_()
    for rows in minibatches(work):
        place.copy_(rows)
        graph.replay()
    return network.accuracy(*work.on_place()[2:])


def said_by_jax(layers, values, x):
    for name, *sizes in layers:
        match name:
            case "relu":
                x = jax.nn.relu(x)
            case "dense":
                x = x @ next(values) + next(values)
            case "conv":
                shapes, stride = ("NHWC", "HWIO", "NHWC"), (sizes[3], sizes[3])
                around = [(sizes[2] // 2, sizes[2] // 2)] * 2
                convolve = jax.lax.conv_general_dilated
                x = convolve(x, next(values), stride, around, dimension_numbers=shapes)
                x = x + next(values) if sizes[4] else x
            case "up":
                rows, high, wide, _ = x.shape
                x = jnp.einsum("bhwc,ijco->bhiwjo", x, next(values))
                x = x.reshape(rows, 2 * high, 2 * wide, -1) + next(values)
            case "batch" | "layer":
                axes = tuple(range(x.ndim - 1)) if name == "batch" else (-1,)
                mean = x.mean(axes, keepdims=True)
                spread = jax.lax.rsqrt(((x - mean) ** 2).mean(axes, keepdims=True) + 1e-5)
                x = (x - mean) * spread * next(values) + next(values)
            case "pool":
                rows, high, wide, channels = x.shape
                x = x.reshape(rows, high // 2, 2, wide // 2, 2, channels).max((2, 4))
            case "flat":
                x = x.reshape(x.shape[0], -1)
            case "mean_pixels":
                x = x.mean((1, 2))
            case "mean_tokens":
                x = x.mean(1)
            case "places":
                x = x + next(values)
            case "attend":
                q, k, v = jnp.moveaxis(x.reshape(*x.shape[:2], 3, sizes[0], -1), 2, 0)
                scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
                weights = jax.nn.softmax(scores)
                x = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(*x.shape[:2], -1)
            case "residual":
                said = said_by_jax(sizes[0], values, x)
                x = said + (said_by_jax(sizes[1], values, x) if sizes[1] else x)
            case "beside":
                x = jnp.concatenate([x, said_by_jax(sizes[0], values, x)], -1)
    return x


@cache
def compiled(work):
    """All steps of one training as one scan, over lanes by `vmap`, compiled."""
    x, y = jnp.asarray(work.train), jnp.asarray(work.train_labels.astype(np.int32))
    test = jnp.asarray(work.test)

    def loss(p, rows):
        logs = jax.nn.log_softmax(said_by_jax(work.layers, iter(p), x[rows]))
        return -jnp.take_along_axis(logs, y[rows][..., None], -1).mean()

    def step(state, rows):
        p, m, v, t = state
        t = t + 1
        g = jax.grad(loss)(p, rows)
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g)]
        v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g)]
        c, d = 1 / (1 - 0.9**t), 1 / (1 - 0.999**t)
        moved = zip(p, m, v)
        p = [a - work.lr * (b * c) / (jnp.sqrt(s * d) + 1e-8) for a, b, s in moved]
        return (p, m, v, t), None

    def train(p, rows):
        zeros = [jnp.zeros_like(a) for a in p]
        (p, *_), _ = jax.lax.scan(step, (p, zeros, zeros, jnp.float32(0)), rows)
        return said_by_jax(work.layers, iter(p), test).argmax(-1)

    return jax.jit(jax.vmap(train))


def by_jax(work, lanes):
    if PLACE.type != "cpu" and jax.default_backend() == "cpu":
        raise Absent("this JAX knows no card")
    rng = np.random.default_rng()
    rows = np.tile(np.arange(work.train_rows, dtype=np.int32), (lanes * work.epochs, 1))
    rows = rng.permuted(rows, axis=1).reshape(lanes, work.steps, work.batch)
    values = [value for _, value in first_values(work, lanes)]
    said = compiled(work)(values, rows)
    return float((np.asarray(said) == work.test_labels).mean())


class Absent(Exception):
    """What there is not here."""


PEERS = {"torch": by_torch, "graph": by_graph, "by hand": by_hand, "jax": by_jax}


def turn(work, peer, lanes):
    begun = time.perf_counter()
    try:
        accuracy = PEERS[peer](work, lanes)
    except (Absent, torch.OutOfMemoryError) as error:
        return dict(absent=str(error).splitlines()[0])
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return dict(absent=str(error).splitlines()[0])
    return dict(trainings=lanes, wall_s=time.perf_counter() - begun, accuracy=accuracy)


def main():
    work_of = cache(Work)
    for line in sys.stdin:
        if line.strip() == "versions":
            place = torch.cuda.get_device_name(PLACE) if PLACE.type == "cuda" else "one thread"
            print(f"PyTorch {torch.__version__}, JAX {jax.__version__}; {place}", flush=True)
            continue
        work, peer, lanes = line.rstrip("\n").split("\t")
        print(json.dumps(turn(work_of(work), peer, int(lanes))), flush=True)


if __name__ == "__main__":
    main()
