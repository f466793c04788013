#!/usr/bin/env python3
"""Writes what PyTorch makes of a small network in 20 steps by every optimiser, in float64.

    scripts/optimizer_vectors.py            # compare crates/top5-testkit/vectors/optimizers.json with what comes out here
    scripts/optimizer_vectors.py --write    # write it

Needs PyTorch (Debian's python3-torch will do) and numpy. PyTorch has neither LARS nor TensorFlow's RMSProp: their rules are
written out below, and compared with timm's where timm is installed.

The network is conv 3x3 (no bias), batch normalisation, sigmoid, linear: no kink and no maximum, so that rounding cannot tip
anything over. Weights and images are in the file, too: weights as f32, images the same for every fourth step.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import torch
from torch import nn

FILE = pathlib.Path(__file__).resolve().parent.parent / "crates/top5-testkit/vectors/optimizers.json"
STEPS, BATCHES, BATCH, CLASSES, SIDE = 20, 4, 6, 3, 5
# Exact in f32, as an engine takes them.
LR, SMALL, SMALLER = 2**-4, 2**-7, 2**-8


def network(weights):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(2)
            self.fc1 = nn.Linear(2 * (SIDE - 2) ** 2, CLASSES)

        def forward(self, x):
            return self.fc1(torch.sigmoid(self.bn1(self.conv1(x))).flatten(1))

    net = Net().double()
    net.load_state_dict({**net.state_dict(), **{name: torch.tensor(value) for name, value in weights.items()}})
    return net


class Written(torch.optim.Optimizer):
    """An optimiser whose rule is a function of (group, weight, gradient, state)."""

    def __init__(self, params, rule, **defaults):
        self.rule = rule
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is not None:
                    self.rule(group, w, w.grad + group.get("weight_decay", 0.0) * w, self.state[w])


def rmsprop_tf(group, w, g, state):
    """TensorFlow's RMSPropOptimizer (training_ops.cc, ApplyRMSProp and ApplyCenteredRMSProp)."""
    lr, alpha, momentum, eps = (group[key] for key in ("lr", "alpha", "momentum", "eps"))
    square = state.setdefault("square_avg", torch.ones_like(w))
    square += (g * g - square) * (1 - alpha)
    spread = square
    if group["centered"]:
        mean = state.setdefault("grad_avg", torch.zeros_like(w))
        mean += (g - mean) * (1 - alpha)
        spread = square - mean * mean
    step = lr * g / (spread + eps).sqrt()
    if momentum > 0:
        buffer = state.setdefault("momentum_buffer", torch.zeros_like(w))
        buffer.mul_(momentum).add_(step)
        step = buffer
    w -= step


def lars(group, w, g, state):
    """You et al., arXiv:1708.03888, algorithm 1, with the rate outside of the momentum."""
    decay, momentum = group["weight_decay"], group["momentum"]
    w_norm, g_norm = w.norm(), w.grad.norm()
    if decay != 0 and w_norm > 0 and g_norm > 0:
        g = g * (group["trust_coeff"] * w_norm / (g_norm + decay * w_norm + group["eps"]))
    if "momentum_buffer" not in state:
        state["momentum_buffer"] = g.clone()
    else:
        state["momentum_buffer"].mul_(momentum).add_(g)
    v = state["momentum_buffer"]
    w -= group["lr"] * (g + momentum * v if group["nesterov"] else v)


RMS = {"alpha": 0.9, "eps": 1e-2, "momentum": 0.0, "centered": False}
ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-4}
LARS = {"momentum": 0.9, "nesterov": False, "trust_coeff": 0.1, "eps": 1e-8}

# Numbers are named as in recipes; what is not said has PyTorch's default.
CASES = {
    "sgd": {"optimizer": "sgd"},
    "sgd_momentum": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    "sgd_dampening": {"optimizer": "sgd", "momentum": 0.9, "dampening": 0.5},
    "sgd_nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "lars": {"optimizer": "lars", **LARS, "weight_decay": 0.01},
    "lars_nesterov": {"optimizer": "lars", **LARS, "nesterov": True, "weight_decay": 0.01, "no_decay": True},
    "rmsprop": {"optimizer": "rmsprop", **RMS, "lr": SMALL},
    "rmsprop_momentum": {"optimizer": "rmsprop", **RMS, "momentum": 0.9, "weight_decay": 0.01, "lr": SMALLER},
    "rmsprop_centered": {"optimizer": "rmsprop", **RMS, "momentum": 0.9, "centered": True, "lr": SMALLER},
    "rmsprop_tf": {"optimizer": "rmsprop_tf", **RMS},
    "rmsprop_tf_momentum": {"optimizer": "rmsprop_tf", **RMS, "momentum": 0.9, "eps": 1.0, "weight_decay": 0.01},
    "rmsprop_tf_centered": {"optimizer": "rmsprop_tf", **RMS, "momentum": 0.9, "centered": True},
    "adam": {"optimizer": "adam", **ADAM, "lr": SMALL, "weight_decay": 0.01},
    "adamw": {"optimizer": "adamw", **ADAM, "lr": SMALL, "weight_decay": 0.1},
    "no_decay": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1, "no_decay": True},
    "head": {"optimizer": "sgd", "momentum": 0.9, "head_lr": 10.0, "freeze_conv": True},
    "clip_norm": {"optimizer": "sgd", "momentum": 0.9, "clip_norm": 0.2, "freeze_conv": True},
    "clip_value": {"optimizer": "adamw", **ADAM, "lr": SMALL, "weight_decay": 0.1, "clip_value": 0.02},
    "ema": {"optimizer": "sgd", "momentum": 0.9, "ema": 0.9},
    "ema_copied": {"optimizer": "sgd", "momentum": 0.9, "ema": 0.9, "ema_buffers": "copy"},
    "ema_warmup": {"optimizer": "sgd", "momentum": 0.9, "ema": 0.9, "ema_warmup": True, "ema_after": 3},
}


def groups(net, case):
    """PyTorch's parameter groups."""
    lr, decay = case.get("lr", LR), case.get("weight_decay", 0.0)
    groups = []
    for name, param in net.named_parameters():
        small = name.startswith("bn1") or name.endswith("bias")
        if case.get("freeze_conv") and name.startswith("conv1"):
            param.requires_grad_(False)
            continue
        groups.append({
            "params": [param],
            "lr": lr * (case.get("head_lr", 1.0) if name.startswith("fc1") else 1.0),
            "weight_decay": 0.0 if case.get("no_decay") and small else decay,
        })
    return groups


def optimizer(net, case, groups=groups):
    of, params = case["optimizer"], groups(net, case)
    said = {key: case[key] for key in ("momentum", "dampening", "nesterov", "alpha", "eps", "centered") if key in case}
    if of == "sgd":
        return torch.optim.SGD(params, lr=1.0, **said)
    if of == "rmsprop":
        return torch.optim.RMSprop(params, **said)
    if of == "rmsprop_tf":
        return Written(params, rmsprop_tf, **{"centered": False, **said})
    if of == "lars":
        return Written(params, lars, trust_coeff=case["trust_coeff"], **said)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[of]
    return kind(params, betas=(case.get("beta1", 0.9), case.get("beta2", 0.999)), eps=case["eps"])


def timms(net, case):
    """timm's form of what PyTorch lacks."""
    from timm.optim import Lars, RMSpropTF

    said = {key: case[key] for key in ("momentum", "nesterov", "alpha", "eps", "centered", "trust_coeff") if key in case}
    return {"lars": Lars, "rmsprop_tf": RMSpropTF}[case["optimizer"]](groups(net, case), **said)


def ema_decay(case, step):
    """timm's ModelEmaV3.get_decay, steps counted from 1."""
    steps = max(0, step - case.get("ema_after", 0) - 1)
    if steps == 0:
        return 0.0
    if case.get("ema_warmup"):
        return min(1 - (1 + steps) ** (-2 / 3), case["ema"])
    return case["ema"]


def clip(net, case):
    """Clips the gradients as the case says."""
    learned = [param for param in net.parameters() if param.requires_grad]
    if "clip_norm" in case:
        nn.utils.clip_grad_norm_(learned, case["clip_norm"])
    if "clip_value" in case:
        nn.utils.clip_grad_value_(learned, case["clip_value"])


def averaged(net, case, step, average):
    """The average of the weights after a step, counted from 1, if the case has one."""
    if "ema" not in case:
        return None
    now = {name: value.clone() for name, value in net.state_dict().items() if value.is_floating_point()}
    average, decay, params = average or now, ema_decay(case, step), dict(net.named_parameters())

    def one(name, value):
        copied = case.get("ema_buffers") == "copy" and name not in params
        return value if copied else decay * average[name] + (1 - decay) * value

    return {name: one(name, value) for name, value in now.items()}


def run(case, weights, batches, make=optimizer):
    net = network(weights)
    opt = make(net, case)
    average = None
    for step in range(1, STEPS + 1):
        images, labels = batches[(step - 1) % BATCHES]
        opt.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        clip(net, case)
        opt.step()
        average = averaged(net, case, step, average)
    tensors = {name: value for name, value in net.state_dict().items() if "num_batches" not in name}
    for name, param in net.named_parameters():
        for key, value in opt.state.get(param, {}).items():
            if torch.is_tensor(value) and value.shape == param.shape and key != "step":
                tensors[f"{key}/{name}"] = value
    for name, value in (average or {}).items():
        tensors[f"ema/{name}"] = value
    return {name: value.detach().flatten().tolist() for name, value in tensors.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the file")
    args = parser.parse_args()
    random = np.random.default_rng(2012)
    single = lambda *shape: random.standard_normal(shape).astype(np.float32)
    weights = {
        "conv1.weight": single(2, 1, 3, 3) / 3,
        "bn1.weight": 1 + single(2) / 4,
        "bn1.bias": single(2) / 4,
        "fc1.weight": single(CLASSES, 2 * (SIDE - 2) ** 2) / 4,
        "fc1.bias": single(CLASSES) / 4,
    }
    images = [single(BATCH, 1, SIDE, SIDE) for _ in range(BATCHES)]
    labels = [[(i + step) % CLASSES for i in range(BATCH)] for step in range(BATCHES)]
    batches = [(torch.tensor(x).double(), torch.tensor(y)) for x, y in zip(images, labels)]

    flat = lambda array: [float(x) for x in np.asarray(array).flatten()]
    document = {
        "about": "written by scripts/optimizer_vectors.py",
        "lr": LR,
        "weights": {name: {"shape": list(value.shape), "values": flat(value)} for name, value in weights.items()},
        "batches": [{"images": flat(x), "labels": y} for x, y in zip(images, labels)],
        "cases": [
            {"name": name, "recipe": case, "after": run(case, weights, batches)} for name, case in CASES.items()
        ],
    }

    try:
        import timm.optim  # noqa: F401
    except ImportError:
        print("timm is not installed: LARS and TensorFlow's RMSProp are not compared with its")
    else:
        for name, case in CASES.items():
            if case["optimizer"] in ("lars", "rmsprop_tf"):
                ours, its = (run(case, weights, batches, make) for make in (optimizer, timms))
                worst = max(abs(a - b) for key in ours for a, b in zip(ours[key], its[key]))
                print(f"{name}: {worst:.1e} from timm's")
                assert worst < 1e-12, name

    if args.write:
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items() if key != "cases")
        cases = ",\n".join(f"    {json.dumps(case)}" for case in document["cases"])
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(f'{{\n{lines},\n  "cases": [\n{cases}\n  ]\n}}\n')
        return
    kept = json.loads(FILE.read_text())
    worst = 0.0
    for here, there in zip(document["cases"], kept["cases"], strict=True):
        assert here["recipe"] == there["recipe"] and here["after"].keys() == there["after"].keys(), here["name"]
        worst = max(worst, *(np.abs(np.subtract(here["after"][k], there["after"][k])).max() for k in here["after"]))
    print(f"largest difference to the file: {worst:.1e}")
    sys.exit(1 if worst > 1e-12 else 0)


if __name__ == "__main__":
    main()
