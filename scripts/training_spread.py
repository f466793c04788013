#!/usr/bin/env python3
"""How far PyTorch's own f32 training differs from the float64 one, kernel by kernel.

usage: training_spread.py SHARED_FOLDER [NETWORK ...]

Trains three steps as reference/training/NETWORK.json says, in f32 with each of PyTorch's kernels and with weights that
differ by a rounding, and prints the largest relative difference of the losses, of the first and of all, the median over
tensors of the gradients' norms, and the largest of the states' norms. One ReLU or maximum that rounding puts on its other side moves the gradients of every layer
before it, so these differ by orders of magnitude from kernel to kernel; crates/top5-cpu/tests/training.rs holds the
engine to three times the largest.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

MASK = (1 << 64) - 1


def values(name, count):
    """The values that belong to a name: see reference/README.md."""
    start = 0xCBF29CE484222325
    for byte in name.encode():
        start = ((start ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.arange(count, dtype=np.uint64) + np.uint64(start) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    return np.float32(2) * unit - np.float32(1)


def fill(model):
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        module, role = name.rsplit(".", 1)
        x = values(name, tensor.numel())
        if role == "running_var":
            x = np.float32(0.5) * x + np.float32(1)
        elif module in norms and role == "weight":
            x = np.float32(0.25) * x + np.float32(0.5)
        elif tensor.dim() == 1:
            x = np.float32(0.1) * x
        else:
            x = np.float32(math.sqrt(6 / math.prod(tensor.shape[1:]))) * x
        state[name] = torch.from_numpy(x).reshape(tensor.shape)
    model.load_state_dict(state)


class Plain(nn.Module):
    """A block of the CIFAR ResNet with projection shortcuts."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.residual_function = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return torch.relu(self.residual_function(x) + self.shortcut(x))


class Excited(nn.Module):
    """A block of the CIFAR SE-ResNet: basic, or a bottleneck."""

    def __init__(self, inputs, width, stride, expansion):
        super().__init__()
        outputs = width * expansion

        def unit(*conv):
            return [nn.Conv2d(*conv), nn.BatchNorm2d(conv[1]), nn.ReLU()]

        if expansion == 1:
            layers = unit(inputs, width, 3, stride, 1) + unit(width, width, 3, 1, 1)
        else:
            layers = unit(inputs, width, 1) + unit(width, width, 3, stride, 1) + unit(width, outputs, 1)
        self.residual = nn.Sequential(*layers)
        self.excitation = nn.Sequential(
            nn.Linear(outputs, outputs // 16), nn.ReLU(), nn.Linear(outputs // 16, outputs), nn.Sigmoid())
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.residual(x)
        gate = self.excitation(y.mean((2, 3)))
        return torch.relu(y * gate[:, :, None, None] + self.shortcut(x))


class Cifar(nn.Module):
    """Stem, four stages, average, classifier, under the given names."""

    def __init__(self, names, bias, blocks, expansion, block):
        super().__init__()
        self.names = names
        stem, *stages, head = names
        setattr(self, stem, nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=bias), nn.BatchNorm2d(64), nn.ReLU()))
        inputs = 64
        for index, (stage, count) in enumerate(zip(stages, blocks)):
            width, layers = 64 << index, []
            for number in range(count):
                layers.append(block(inputs, width, 2 if number == 0 and index > 0 else 1))
                inputs = width * expansion
            setattr(self, stage, nn.Sequential(*layers))
        setattr(self, head, nn.Linear(inputs, 100))

    def forward(self, x):
        for name in self.names[:-1]:
            x = getattr(self, name)(x)
        return getattr(self, self.names[-1])(x.mean((2, 3)))


def alexnet_28():
    features = []
    for inputs, outputs, kernel, pool in [
            (1, 96, 11, True), (96, 256, 3, True), (256, 384, 3, False), (384, 384, 3, False), (384, 256, 3, True)]:
        features += [nn.Conv2d(inputs, outputs, kernel, padding=1), nn.ReLU()]
        features += [nn.MaxPool2d(2)] if pool else []
    model = nn.Sequential()
    model.features = nn.Sequential(*features)
    model.flatten = nn.Flatten()
    model.classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(1024, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 10))
    return model


SE_NAMES = ["pre", "stage1", "stage2", "stage3", "stage4", "linear"]
NETWORKS = {
    "alexnet_28": alexnet_28,
    "alexnet_owt": torchvision.models.alexnet,
    "resnet18": torchvision.models.resnet18,
    "resnet18_cifar": lambda: Cifar(
        ["conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x", "fc"], False, [2, 2, 2, 2], 1, Plain),
    "seresnet18_cifar": lambda: Cifar(
        SE_NAMES, True, [2, 2, 2, 2], 1, lambda i, w, s: Excited(i, w, s, 1)),
    "seresnet50_cifar": lambda: Cifar(
        SE_NAMES, True, [3, 4, 6, 3], 4, lambda i, w, s: Excited(i, w, s, 4)),
}


def differences(name, case, dtype=torch.float32, memory=torch.contiguous_format, seed=None):
    model = NETWORKS[name]().train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    fill(model)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                draws = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(parameter.double() * (1 + 1e-7 * (2 * draws - 1)))
    model = model.to(dtype).to(memory_format=memory)
    descent = torch.optim.SGD(
        model.parameters(), lr=case["lr"], momentum=case["momentum"], nesterov=case["nesterov"],
        weight_decay=case["weight_decay"])
    shape = case["batch"]["shape"]
    classes = list(model.state_dict().values())[-1].shape[0]
    losses, gradients = [], {}
    for step in range(3):
        images = torch.from_numpy(values(f"step{step}", math.prod(shape)).reshape(shape))
        labels = torch.tensor([(7 * i + 3 * step) % classes for i in range(shape[0])])
        descent.zero_grad()
        loss = nn.functional.cross_entropy(model(images.to(dtype).to(memory_format=memory)), labels)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            gradients = {n: p.grad.double().norm().item() for n, p in model.named_parameters()}
        descent.step()
    state = {n: t.double().norm().item() for n, t in model.state_dict().items()}

    def norms(got, want):
        largest = max(digest[0] for digest in want.values())
        scale = {n: d[0] if d[0] > 1e-7 * largest else largest for n, d in want.items()}
        return sorted(abs(got[n] - d[0]) / scale[n] for n, d in want.items())

    loss = [abs(got - want) / want for got, want in zip(losses, case["losses"])]
    gradient = norms(gradients, case["gradients"])
    return loss[0], max(loss), gradient[len(gradient) // 2], norms(state, case["state"])[-1]


def main():
    folder = Path(sys.argv[1]) / "reference/training"
    for name in sys.argv[2:] or NETWORKS:
        case = json.loads((folder / f"{name}.json").read_text())
        runs = {"float64": lambda: differences(name, case, torch.float64),
                "default": lambda: differences(name, case),
                "channels last": lambda: differences(name, case, memory=torch.channels_last)}
        for label, run in runs.items():
            show(name, label, run())
        with torch.backends.mkldnn.flags(enabled=False):
            show(name, "without oneDNN", differences(name, case))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        show(name, "one thread", differences(name, case))
        torch.set_num_threads(threads)
        for seed in range(8):
            show(name, f"rounded {seed}", differences(name, case, seed=seed))


def show(name, label, found):
    first, losses, gradients, state = (f"{value:.1e}" for value in found)
    print(f"{name:17} {label:15} first loss {first}  losses {losses}  gradients {gradients}  state {state}", flush=True)


if __name__ == "__main__":
    main()
