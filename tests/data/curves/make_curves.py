"""Writes curves.json: how PyTorch trains the models that the trainer trains, in 64 bits.

    python -m venv venv && venv/bin/pip install numpy torch && venv/bin/python make_curves.py

Each case is a model of torch.nn, first weights, rows and a recipe; beside them what 50 steps of it
say: the loss of each step, the gradients of the first, and what the model says of all rows at the
end. Nothing here is a transcription: gradients are autograd's, optimizers, schedules and clipping
torch.optim's and torch.nn's own. `agent/src/trainer/network/curves.rs` reads it.

Weights are written as the trainer keeps them: a dense layer's [inputs, outputs], a convolution's
[taps · channels, outputs], a transposed one's [taps · outputs, channels]; a normalisation's scale,
its shift, and of batch norm mean and variance that run along.
"""

import copy
import json
import math
import re
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ROWS, BATCH, STEPS = 12, 4, 50
TRAIN = [row for row in range(ROWS) if row % 4 != 1]
# Of each epoch, as the trainer draws it; its test prints it when it draws another one.
ORDER = [
    [7, 6, 4, 3, 11, 0, 2, 8, 10],
    [11, 10, 0, 4, 8, 3, 7, 6, 2],
    [0, 7, 8, 11, 2, 3, 4, 10, 6],
    [8, 0, 11, 3, 6, 2, 4, 7, 10],
    [4, 10, 11, 2, 6, 3, 8, 7, 0],
    [10, 3, 0, 6, 11, 8, 7, 2, 4],
    [2, 7, 10, 6, 11, 0, 3, 8, 4],
    [3, 10, 8, 11, 6, 0, 2, 4, 7],
    [6, 4, 11, 0, 10, 7, 8, 2, 3],
    [6, 2, 3, 7, 11, 8, 0, 4, 10],
    [8, 2, 7, 3, 11, 6, 4, 10, 0],
    [0, 6, 8, 10, 3, 11, 7, 4, 2],
    [8, 4, 6, 11, 3, 0, 2, 10, 7],
    [6, 4, 0, 2, 8, 11, 7, 3, 10],
    [3, 0, 10, 4, 7, 8, 11, 2, 6],
    [11, 6, 7, 4, 0, 3, 8, 10, 2],
    [11, 7, 3, 8, 0, 10, 4, 6, 2],
]


class Mlp(nn.Module):
    def __init__(self, inputs, hidden, outputs, levels=(), embed=0):
        super().__init__()
        self.levels = levels
        self.tables = nn.ModuleList(nn.Embedding(end - start, embed) for start, end in levels)
        sides = [inputs + sum(embed - (end - start) for start, end in levels), *hidden, outputs]
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sides, sides[1:]))

    def order(self):
        return [*self.tables, *self.dense]

    def forward(self, x):
        parts, at = [], 0
        for (start, end), table in zip(self.levels, self.tables):
            parts += [x[:, at:start], table(x[:, start:end].argmax(1))]
            at = end
        x = torch.cat([*parts, x[:, at:]], 1)
        for layer in self.dense[:-1]:
            x = F.relu(layer(x))
        return self.dense[-1](x)


def norm(kind, channels):
    """Layer norm of images is over all of an image's numbers: group norm of one group."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    of_four = [n for n in range(1, math.ceil(channels / 4) + 1) if channels % n == 0]
    return nn.GroupNorm(of_four[-1] if kind == "group" else 1, channels)


def conv(inputs, outputs, kernel=3, stride=1, kind=None, line=False):
    """A convolution, its norm if any, without a rectifier; along a line or over a plane."""
    layer = nn.Conv1d if line else nn.Conv2d
    made = [layer(inputs, outputs, kernel, stride, kernel // 2, bias=kind is None)]
    return made if kind is None else [*made, norm(kind, outputs)]


class Cnn(nn.Module):
    def __init__(self, shape, channels, outputs, kind=None, separable=False):
        super().__init__()
        *sides, before = shape
        body, line = [], len(sides) == 1
        for place, after in enumerate(channels):
            stride = 2 if place else 1
            if separable and place:
                body += [nn.Conv2d(before, before, 3, 2, 1, groups=before), nn.ReLU()]
                body += [*conv(before, after, 1, 1, kind), nn.ReLU()]
            else:
                body += [*conv(before, after, 3, stride, kind, line), nn.ReLU()]
            sides = [(side - 1) // stride + 1 for side in sides]
            before = after
        self.shape, self.body = shape, nn.Sequential(*body)
        self.head = nn.Linear(math.prod(sides) * before, outputs)

    def order(self):
        return [*self.body, self.head]

    def forward(self, x):
        x = self.body(x.unflatten(1, self.shape).movedim(-1, 1))
        return self.head(x.movedim(1, -1).flatten(1))


class Block(nn.Module):
    def __init__(self, before, after, stride, kind):
        super().__init__()
        first, second = conv(before, after, 3, stride, kind), conv(after, after, 3, 1, kind)
        self.body = nn.Sequential(*first, nn.ReLU(), *second)
        same = stride == 1 and before == after
        self.shortcut = nn.Sequential(*([] if same else conv(before, after, 1, stride, kind)))

    def order(self):
        return [*self.body, *self.shortcut]

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


class Resnet(nn.Module):
    def __init__(self, shape, channels, outputs, kind, blocks=1):
        super().__init__()
        self.shape, before = shape, channels[0]
        self.stem = nn.Sequential(*conv(shape[-1], before, 3, 1, kind), nn.ReLU())
        self.blocks = nn.ModuleList()
        for stage, after in enumerate(channels):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                self.blocks.append(Block(before, after, stride, kind))
                before = after
        self.head = nn.Linear(before, outputs)

    def order(self):
        return [*self.stem, *(part for block in self.blocks for part in block.order()), self.head]

    def forward(self, x):
        x = self.stem(x.unflatten(1, self.shape).movedim(-1, 1))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


class Level(nn.Module):
    def __init__(self, before, channels, kind):
        super().__init__()
        own, *below = channels
        twice = lambda inputs: nn.Sequential(*conv(inputs, own, kind=kind), nn.ReLU(),
                                             *conv(own, own, kind=kind), nn.ReLU())
        self.down, self.below = twice(before), None
        if below:
            self.below = Level(own, below, kind)
            self.up = nn.ConvTranspose2d(below[0], own, 2, 2)
            self.across = twice(2 * own)

    def order(self):
        if self.below is None:
            return [*self.down]
        return [*self.down, *self.below.order(), self.up, *self.across]

    def forward(self, x):
        x = self.down(x)
        if self.below is None:
            return x
        return self.across(torch.cat([x, self.up(self.below(F.max_pool2d(x, 2)))], 1))


class Unet(nn.Module):
    def __init__(self, shape, channels, outputs, kind):
        super().__init__()
        self.shape, self.level = shape, Level(shape[-1], channels, kind)
        self.head = nn.Conv2d(channels[0], outputs, 1)

    def order(self):
        return [*self.level.order(), self.head]

    def forward(self, x):
        x = self.head(self.level(x.unflatten(1, self.shape).movedim(-1, 1)))
        return x.movedim(1, -1).flatten(0, 2)


class Places(nn.Module):
    def __init__(self, length, width):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(length, width))

    def forward(self, x):
        return x + self.weight


class Transformer(nn.Module):
    def __init__(self, length, channels, outputs, width, heads, wide, tokens=None, blocks=1):
        super().__init__()
        self.split, self.tokens = (length, channels), tokens
        self.first = nn.Linear(channels, width) if tokens is None else nn.Embedding(tokens, width)
        self.places = Places(length, width)
        encoder = lambda: nn.TransformerEncoderLayer(
            width, heads, wide, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.ModuleList(encoder() for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)

    def order(self):
        of_block = lambda b: [b.norm1, b.self_attn, b.norm2, b.linear1, b.linear2]
        blocks = [part for block in self.blocks for part in of_block(block)]
        return [self.first, self.places, *blocks, self.norm, self.head]

    def forward(self, x):
        x = x.unflatten(1, self.split) if self.tokens is None else x.long()
        x = self.places(self.first(x))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def turned(weight):
    return weight.T


def as_row(weight):
    return weight.reshape(1, -1)


def taps(weight):
    """[outputs, inputs, …taps] to [taps · inputs, outputs]."""
    return weight.flatten(2).permute(2, 1, 0).flatten(0, 1)


def parameters(model):
    """Name, tensor and layout of each parameter, in the trainer's order; its own name last."""
    names = {tensor: name for name, tensor in model.named_parameters()}
    names |= {tensor: name for name, tensor in model.named_buffers()}
    found = []
    for layer in model.order():
        if isinstance(layer, nn.MultiheadAttention):
            found += [(layer.in_proj_weight, turned), (layer.in_proj_bias, as_row)]
            found += [(layer.out_proj.weight, turned), (layer.out_proj.bias, as_row)]
        elif isinstance(layer, nn.Linear):
            found += [(layer.weight, turned), (layer.bias, as_row)]
        elif isinstance(layer, (nn.Embedding, Places)):
            found += [(layer.weight, lambda weight: weight)]
        elif isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)):
            # A transposed convolution's weight begins with its inputs, which are what the
            # convolution that it turns round says. By channel there is one input each.
            found += [(layer.weight, taps)]
            found += [(layer.bias, as_row)] if layer.bias is not None else []
        elif isinstance(layer, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            found += [(layer.weight, as_row), (layer.bias, as_row)]
            if isinstance(layer, nn.BatchNorm2d):
                found += [((layer.running_mean, layer.running_var), torch.stack)]
    name = lambda tensor: names[tensor if torch.is_tensor(tensor) else tensor[0]]
    return [(name(tensor), tensor, layout) for tensor, layout in found]


def draw(model, rng):
    """First weights of 32 bits; scales and shifts are moved off 1 and 0."""
    with torch.no_grad():
        for tensor in model.parameters():
            inputs = tensor.numel() // tensor.shape[0] if tensor.dim() > 1 else 4
            moved = rng.normal(size=tensor.shape) / math.sqrt(inputs)
            tensor.copy_(torch.from_numpy(moved))
        for layer in model.modules():
            if isinstance(layer, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
                layer.weight.copy_(1 + 0.4 * layer.weight)
        for tensor in model.parameters():
            tensor.copy_(tensor.float().double())


def focal(gamma):
    def loss(said, target):
        nats = F.cross_entropy(said, target, reduction="none")
        return ((1 - torch.exp(-nats)) ** gamma * nats).mean()
    return loss


def dice(said, target):
    """Cross-entropy and 1 - mean soft Dice over all pixels of all images, without class 0."""
    p, truth = F.softmax(said, 1), F.one_hot(target, said.shape[1]).to(said.dtype)
    share = (2 * (p * truth).sum(0) + 1) / (p.sum(0) + truth.sum(0) + 1)
    return F.cross_entropy(said, target) + 1 - share[1:].mean()


def of_values(loss):
    return lambda said, target: loss(said[:, 0], target)


class DecayApart(torch.optim.SGD):
    """SGD whose decay is apart from the gradient, as Loshchilov and Hutter's SGDW (algorithm 1)."""

    def __init__(self, parameters, lr, weight_decay, momentum):
        super().__init__(parameters, lr=lr, momentum=momentum)
        self.apart = weight_decay

    def step(self):
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(1 - group["lr"] * self.apart)
        super().step()


def adamw(lr, decay):
    return lambda parameters: torch.optim.AdamW(parameters, lr=lr, weight_decay=decay)


def adam(lr, decay):
    return lambda parameters: torch.optim.Adam(parameters, lr=lr, weight_decay=decay)


def sgd(lr, decay, momentum):
    return lambda parameters: DecayApart(parameters, lr, decay, momentum)


def cosine(optimizer, total):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)


def one_cycle(optimizer, total):
    most = optimizer.param_groups[0]["lr"]
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=most, total_steps=total, cycle_momentum=False)


def constant(optimizer, total):
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=total)


def scaled(features, channels):
    """Less the training rows' mean, by their deviation, each of as many channels."""
    by_channel = features.reshape(ROWS, -1, channels)
    seen = by_channel[TRAIN]
    return ((by_channel - seen.mean((0, 1))) / seen.std((0, 1))).reshape(ROWS, -1)


def trained(model, x, target, loss, optimizer, schedule=constant, clip=0.0):
    """Losses of all steps, the first's gradients, and what is said of all rows at the end."""
    x, target = torch.from_numpy(x), torch.from_numpy(target)
    of_epoch = [rows[at:at + BATCH] for rows in ORDER for at in range(0, len(TRAIN), BATCH)]
    optimizer = optimizer(model.parameters())
    schedule = schedule(optimizer, len(of_epoch))
    losses, first, clipped = [], None, 0
    for rows in of_epoch[:STEPS]:
        optimizer.zero_grad()
        one = loss(model(x[rows]), target[rows].flatten())
        one.backward()
        losses.append(one.item())
        if first is None:
            first = {tensor: tensor.grad.clone() for tensor in model.parameters()}
        if clip:
            clipped += nn.utils.clip_grad_norm_(model.parameters(), clip).item() > clip
        optimizer.step()
        schedule.step()
    assert not clip or 5 < clipped, f"clipped {clipped} times only"
    model.eval()
    with torch.no_grad():
        return losses, first, model(x).flatten().tolist()


def narrow_losses(model, x, target, **recipe):
    """The losses of PyTorch in 32 bits. Where they part from those of 64, nobody's could not."""
    torch.set_default_dtype(torch.float32)
    floats = target.dtype.kind == "f"
    narrow = target.astype("f4") if floats else target
    losses, _, _ = trained(copy.deepcopy(model).float(), x.astype("f4"), narrow, **recipe)
    torch.set_default_dtype(torch.float64)
    return losses


def made(rng, model, features, target, x, **recipe):
    model = model.double()
    draw(model, rng)
    narrow = narrow_losses(model, x, target, **recipe)
    with torch.no_grad():
        weights = [layout(tensor).flatten().tolist() for _, tensor, layout in parameters(model)]
    losses, first, outputs = trained(model, x, target, **recipe)
    apart = max(abs(a - b) / max(b, 0.01) for a, b in zip(narrow, losses))
    assert apart < 5e-5, f"{apart} between 32 and 64 bits: take smaller steps"
    gradient = lambda tensor, layout: layout(first[tensor]).flatten().tolist()
    return {
        "features": features.flatten().tolist(),
        "target": target.flatten().tolist(),
        "names": [name for name, _, _ in parameters(model)],
        "weights": weights,
        "losses": losses,
        "losses_of_32_bits_apart": apart,
        "gradients": [gradient(tensor, layout) if torch.is_tensor(tensor) else []
                      for _, tensor, layout in parameters(model)],
        "outputs": outputs,
    }


def cases(rng):
    normal = lambda width: rng.normal(size=(ROWS, width)).astype("f4").astype("f8")
    table = normal(5) * np.float32([0.5, 2, 4, 8, 16]) + 3
    table, three, two = table.astype("f4").astype("f8"), np.arange(ROWS) % 3, np.arange(ROWS) % 2
    line, picture, sequence = normal(2), normal(48), normal(12)
    value = (1000 + 50 * np.cos(line[:, 0]) + line[:, 1]).astype("f4").astype("f8")
    value_scaled = (value - value[TRAIN].mean()) / value[TRAIN].std()
    tokens = rng.integers(0, 5, (ROWS, 6)).astype("f8")
    mask = (picture[:, ::2] > 0).astype(int) + (picture[:, 1::2] > 1).astype(int)
    levels = normal(7)
    levels[:, 1:4], levels[:, 5:7] = np.eye(3)[three], np.eye(2)[np.arange(ROWS) // 2 % 2]
    levels_scaled = levels.copy()
    levels_scaled[:, [0, 4]] = scaled(levels[:, [0, 4]], 2)

    usual, cross = adamw(0.02, 0.01), F.cross_entropy
    on = lambda features, target, channels: {
        "features": features, "target": target, "x": scaled(features, channels)}
    of_table = on(table, three, 5)
    pictures, sequences = on(picture, three, 2), on(sequence, three, 2)
    masks = on(picture, mask, 2)
    ids = {"features": tokens, "target": two, "x": tokens}
    embedded = {"features": levels, "target": two, "x": levels_scaled}
    of_line = lambda loss: {"features": line, "target": value_scaled, "x": scaled(line, 2),
                            "loss": of_values(loss), "optimizer": usual}
    plain = {"loss": cross, "optimizer": usual}
    slow = plain | {"optimizer": adamw(0.005, 0.01)}
    image, flat = (4, 6, 2), (6, 2)
    mlp = lambda: Mlp(5, (5, 4), 3)
    yield "linear", Mlp(5, (), 3), of_table | plain
    yield "mlp", mlp(), of_table | plain
    yield "mlp of values", Mlp(2, (5, 4), 1), of_line(F.mse_loss)
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)
    yield "mlp, smoothed", mlp(), of_table | plain | {"loss": smooth}
    yield "mlp, focal", mlp(), of_table | plain | {"loss": focal(2.0)}
    yield "mlp, huber", Mlp(2, (5, 4), 1), of_line(nn.HuberLoss(delta=0.5))
    yield "mlp, embeds", Mlp(7, (5, 4), 2, ((1, 4), (5, 7)), 2), embedded | plain
    yield "cnn", Cnn(image, (3, 4), 3), pictures | plain
    yield "cnn, batch norm", Cnn(image, (3, 4), 3, "batch"), pictures | plain
    yield "cnn, separable", Cnn(image, (3, 4), 3, separable=True), pictures | plain
    yield "cnn of sequences", Cnn(flat, (3, 4), 3, "layer"), sequences | plain
    yield "resnet", Resnet(image, (3, 4), 3, "batch"), pictures | plain
    yield "resnet without norms", Resnet(image, (3, 3), 3, None), pictures | plain
    yield "unet", Unet(image, (2, 3), 3, "group"), masks | plain | {"loss": dice}
    encoder = lambda outputs, **of: Transformer(6, 2, outputs, 6, 2, 7, **of)
    yield "transformer", encoder(3), sequences | plain
    yield "transformer of tokens", encoder(2, tokens=5), ids | slow
    # Other optimizers, schedules, clipping, and deeper layers.
    coupled = {"optimizer": adam(0.02, 0.05), "schedule": one_cycle}
    pushed = {"optimizer": sgd(0.05, 0.02, 0.8), "schedule": cosine, "clip": 0.5}
    yield "mlp, adam", mlp(), of_table | plain | coupled
    yield "mlp, sgd", mlp(), of_table | plain | pushed
    yield "transformer, adam", encoder(3, blocks=2), sequences | plain | coupled | {"clip": 0.5}
    yield "resnet, sgd", Resnet(image, (4, 8), 3, "group", 2), pictures | plain | pushed
    deep = {"loss": dice, "schedule": cosine, "clip": 0.5}
    yield "unet of groups", Unet(image, (8, 4), 3, "group"), masks | plain | deep


def text(curves):
    """Nine digits tell 32-bit numbers apart; one line a list, so that a difference can be read."""
    nine = lambda number: float(f"{number:.9g}")
    curves = json.loads(json.dumps(curves), parse_float=lambda number: nine(float(number)))
    lines = json.dumps(curves, indent=0)
    return re.sub(r"\[[^\[\]]*\]", lambda m: "".join(m.group().split()), lines) + "\n"


def main():
    torch.set_default_dtype(torch.float64)
    rng = np.random.default_rng(11)
    found = {}
    for name, model, asked in cases(rng):
        case = made(rng, model, **asked)
        found[name] = case
        print(f"{name}: {case['losses'][0]:.4f} to {case['losses'][-1]:.4f}, "
              f"32 bits {case['losses_of_32_bits_apart']:.1e} apart")
    curves = {"torch": torch.__version__, "order": ORDER, "cases": found}
    Path(__file__).with_name("curves.json").write_text(text(curves))


if __name__ == "__main__":
    main()
