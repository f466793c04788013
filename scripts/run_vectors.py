#!/usr/bin/env python3
"""Writes what PyTorch makes of a small network in whole runs of 50 steps, in float64, on the batches that top5's loader makes.

    scripts/run_vectors.py            # compare crates/top5-train/tests/whole_runs.json with what comes out here
    scripts/run_vectors.py --write    # write it

The batches, mixed as the recipe says, and the weights to begin with come from `cargo run -p top5-train --example batches`; that
images and labels are mixed in the proportions that it tells is checked here. Everything else is PyTorch's: targets and their
smoothing, gradients added up over parts of a step, clipping, the learning rate, optimisers (the two that it lacks as in
optimizer_vectors.py), frozen layers and averages of the weights. Needs PyTorch and numpy.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys

import numpy as np
import torch
from torch import nn

from optimizer_vectors import LARS, averaged, clip, optimizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "crates/top5-train/tests/whole_runs.json"
BATCH, EPOCHS, STEPS, CLASSES = 8, 5, 50, 3
MIXUP_ALPHA, CUTMIX_ALPHA = 0.4, 1.0

SGD = {"optimizer": "sgd", "lr": 0.0625, "momentum": 0.9}
NESTEROV = {**SGD, "nesterov": True, "weight_decay": 0.01}
COSINE = {"warmup_epochs": 1, "schedule": {"cosine": {"final": 0.0}}}
ADAMW = {"optimizer": "adamw", "lr": 0.0078125, "weight_decay": 0.05, "eps": 1e-4}
RMS = {"alpha": 0.9, "eps": 0.01, "momentum": 0.9}

# Keys of recipes; what is not said has PyTorch's default.
CASES = {
    "mixup": {**NESTEROV, **COSINE, "mixup": MIXUP_ALPHA},
    "smoothed mixup": {**NESTEROV, **COSINE, "mixup": MIXUP_ALPHA, "label_smoothing": 0.1},
    "smoothed CutMix, clipped": {**NESTEROV, "cutmix": CUTMIX_ALPHA, "label_smoothing": 0.1, "clip_norm": 0.5},
    "mixup or CutMix, average that warms up": {
        **ADAMW, **COSINE, "mixup": MIXUP_ALPHA, "cutmix": CUTMIX_ALPHA, "ema": 0.9, "ema_warmup": True, "ema_after": 5},
    "smoothed labels, average with copied statistics": {
        **NESTEROV, "label_smoothing": 0.2, "ema": 0.95, "ema_buffers": "copy"},
    "average": {**SGD, "ema": 0.95},
    "four batches a step": {**NESTEROV, **COSINE, "batch_size": 2, "accumulate": 4},
    "four batches a step, mixed, clipped": {
        **ADAMW, "batch_size": 2, "accumulate": 4, "mixup": MIXUP_ALPHA, "label_smoothing": 0.1, "clip_value": 0.01,
        "ema": 0.9},
    "LARS": {"optimizer": "lars", "lr": 0.0625, **LARS, "weight_decay": 0.01, "no_decay": True, **COSINE},
    "TensorFlow's RMSProp, average that warms up": {
        "optimizer": "rmsprop_tf", "lr": 0.0078125, **RMS, "weight_decay": 0.01, "label_smoothing": 0.1, "clip_norm": 2.0,
        "ema": 0.9, "ema_warmup": True, "schedule": {"exponential": {"gamma": 0.94, "epochs": 2}}},
    "RMSProp": {"optimizer": "rmsprop", "lr": 0.00390625, **RMS, "centered": True, "mixup": MIXUP_ALPHA},
    "Adam in steps": {**ADAMW, "optimizer": "adam", "schedule": {"step": {"milestones": [2, 4], "gamma": 0.1}}},
    "fine-tuned by depth": {**NESTEROV, "head_lr": 4.0, "layer_decay": 0.5, "no_decay": True, "mixup": MIXUP_ALPHA},
    "frozen beginning": {**NESTEROV, "freeze": ["conv1", "bn1"], "label_smoothing": 0.1},
}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.fc1 = nn.Linear(6 * 4 * 4, CLASSES)

    def forward(self, x):
        x = torch.sigmoid(self.bn1(self.conv1(x)))
        return self.fc1(torch.sigmoid(self.bn2(self.conv2(x))).flatten(1))


def recipe(case):
    """The case as TOML."""

    def text(value):
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{key} = {text(inner)}" for key, inner in value.items()) + " }"
        return json.dumps(value)

    keys = {
        "network": "patterns", "data": "patterns", "validation": 0.0, "seed": 7, "epochs": EPOCHS, "batch_size": BATCH,
        "weight_decay": 0.0, "schedule": "constant", **case}
    names = {"trust_coeff": "trust_coefficient"}
    keys = {names.get(key, key): value for key, value in keys.items()}
    if keys.get("no_decay"):
        keys["no_decay"] = ["norms", "biases"]
    return "".join(f"{key} = {text(value)}\n" for key, value in keys.items())


def batches(text):
    """What top5 begins with and learns from, and that it is mixed as it says."""
    command = ["cargo", "run", "-q", "-p", "top5-train", "--example", "batches"]
    out = json.loads(subprocess.run(command, cwd=ROOT, input=text, stdout=subprocess.PIPE, text=True, check=True).stdout)
    steps = []
    for step in out["steps"]:
        images = np.array(step["images"]).reshape(-1, 3, 8, 8)
        labels = np.array(step["labels"])
        own = np.eye(CLASSES)[labels]
        if step["share"] is not None:
            before, share = np.array(step["before"]).reshape(images.shape), step["share"]
            others, partner = np.array(step["others"]), np.roll(before, 1, axis=0)
            assert (others == np.roll(labels, 1)).all()
            pasted = (images != before).any((0, 1))
            blended = np.abs(images - (share * before + (1 - share) * partner)).max()
            if blended > 1e-5:
                # A rectangle of the one before, and the rest its own.
                rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
                part = np.s_[:, :, rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
                assert (images[part] == partner[part]).all()
                assert abs(1 - pasted.sum() / 64 - share) < 1e-6
                assert pasted.sum() == len(rows) * len(columns)
            own = share * own + (1 - share) * np.eye(CLASSES)[others]
        steps.append((torch.tensor(images), torch.tensor(own)))
    return out["weights"], steps


def groups(net, case):
    """PyTorch's parameter groups, with the factor of the rate of each."""
    out = []
    for name, param in net.named_parameters():
        if any(name.startswith(frozen + ".") for frozen in case.get("freeze", [])):
            param.requires_grad_(False)
            continue
        depth = {"conv1": 2, "bn1": 2, "conv2": 1, "bn2": 1, "fc1": 0}[name.split(".")[0]]
        factor = case.get("layer_decay", 1.0) ** depth * (case.get("head_lr", 1.0) if depth == 0 else 1.0)
        spared = case.get("no_decay") and (name.startswith("bn") or name.endswith("bias"))
        decay = 0.0 if spared else case.get("weight_decay", 0.0)
        out.append({"params": [param], "lr": case["lr"] * factor, "factor": factor, "weight_decay": decay})
    return out


def rate(case, step):
    """The rate of a step, counted from 0."""
    epoch, schedule = STEPS // EPOCHS, case.get("schedule", "constant")
    warm = case.get("warmup_epochs", 0) * epoch
    if step < warm:
        return case["lr"] * (step + 1) / warm
    if schedule == "constant":
        return case["lr"]
    (name, numbers), = schedule.items()
    if name == "cosine":
        return case["lr"] * (1 + math.cos(math.pi * (step - warm) / (STEPS - warm))) / 2
    if name == "exponential":
        return case["lr"] * numbers["gamma"] ** (step // epoch // numbers["epochs"])
    return case["lr"] * numbers["gamma"] ** sum(step // epoch >= milestone for milestone in numbers["milestones"])


def run(case):
    weights, steps = batches(recipe(case))
    net = Net().double()
    given = {name: torch.tensor(tensor["values"]).reshape(tensor["shape"]) for name, tensor in weights.items()}
    net.load_state_dict({**net.state_dict(), **given})
    opt = optimizer(net, case, groups)
    if "freeze" in case:
        net.train()
        net.bn1.eval()
    parts = case.get("accumulate", 1)
    smoothing = case.get("label_smoothing", 0.0)
    losses, average = [], None
    assert len(steps) == STEPS
    for step, (images, targets) in enumerate(steps):
        opt.zero_grad()
        total = 0.0
        for x, y in zip(images.chunk(parts), targets.chunk(parts)):
            loss = nn.functional.cross_entropy(net(x.double()), y, label_smoothing=smoothing) / parts
            loss.backward()
            total += loss.item()
        losses.append(total)
        clip(net, case)
        for group in opt.param_groups:
            group["lr"] = rate(case, step) * group["factor"]
        opt.step()
        average = averaged(net, case, step + 1, average)
    kept = average or {name: value for name, value in net.state_dict().items() if value.is_floating_point()}
    return {"losses": losses, "model": {name: value.flatten().tolist() for name, value in kept.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the file")
    args = parser.parse_args()
    cases = [{"name": name, "recipe": recipe(case), **run(case)} for name, case in CASES.items()]
    if args.write:
        # Eight digits after the point: well below what is compared.
        rounded = json.loads(json.dumps(cases), parse_float=lambda text: round(float(text), 8))
        FILE.write_text("[\n" + ",\n".join(json.dumps(case) for case in rounded) + "\n]\n")
        return
    worst = 0.0
    for here, there in zip(cases, json.loads(FILE.read_text()), strict=True):
        assert (here["name"], here["recipe"]) == (there["name"], there["recipe"]), here["name"]
        pairs = [(here["losses"], there["losses"]), *((value, there["model"][name]) for name, value in here["model"].items())]
        worst = max(worst, *(np.abs(np.subtract(a, b)).max() for a, b in pairs))
    print(f"largest difference to the file: {worst:.1e}")
    sys.exit(1 if worst > 1e-7 else 0)


if __name__ == "__main__":
    main()
