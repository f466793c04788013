#!/usr/bin/env python3
"""Writes the learning rates of PyTorch's schedulers over 50 steps.

    scripts/schedule_vectors.py             # compare crates/top5-train/tests/schedules.json with what comes out here
    scripts/schedule_vectors.py --write     # write it

Needs PyTorch (Debian's python3-torch will do). An epoch has 5 steps; schedulers of epochs are stepped after each, as training
loops do, and the others after every step.
"""

import argparse
import json
import math
import pathlib
import sys

import torch
from torch.optim import lr_scheduler as schedulers

FILE = pathlib.Path(__file__).resolve().parent.parent / "crates/top5-train/tests/schedules.json"
STEPS, EPOCH = 50, 5
LR = 0.125
WARMUP = 10

# Validation figures of the ten epochs: top-1 in percent, and losses.
TOP1 = [20.0, 35.0, 34.0, 35.0, 35.001, 50.0, 49.0, 49.5, 50.0, 49.0]
LOSS = [2.0, 1.5, 1.6, 1.4, 1.5, 1.45, 1.41, 1.399, 1.5, 1.5]


def warmed(make):
    """The schedule after a warm-up, both stepped after every step."""

    def both(opt):
        first = schedulers.LinearLR(opt, start_factor=1 / WARMUP, end_factor=1.0, total_iters=WARMUP - 1)
        return schedulers.SequentialLR(opt, [first, make(opt)], milestones=[WARMUP])

    return both


REST = STEPS - WARMUP

# (name, recipe's schedule, warm-up in epochs, scheduler, what is given to it, stepped after every epoch)
CASES = [
    ("constant", "constant", 2, warmed(lambda o: schedulers.ConstantLR(o, factor=1.0)), None, False),
    ("multi step", {"step": {"milestones": [2.0, 5.0, 6.0], "gamma": 0.1}}, 0,
     lambda o: schedulers.MultiStepLR(o, [2, 5, 6], gamma=0.1), None, True),
    ("every two epochs", {"exponential": {"gamma": 0.94, "epochs": 2.0}}, 0,
     lambda o: schedulers.StepLR(o, 2, gamma=0.94), None, True),
    ("every epoch", {"exponential": {"gamma": 0.9}}, 0,
     lambda o: schedulers.ExponentialLR(o, gamma=0.9), None, True),
    ("cosine", {"cosine": {"final": 0.001}}, 0,
     lambda o: schedulers.CosineAnnealingLR(o, STEPS, eta_min=0.001), None, False),
    ("cosine after a warm-up", {"cosine": {"final": 0.0}}, 2,
     warmed(lambda o: schedulers.CosineAnnealingLR(o, REST)), None, False),
    ("linear after a warm-up", {"polynomial": {"power": 1.0, "final": 0.0}}, 2,
     warmed(lambda o: schedulers.PolynomialLR(o, REST, power=1.0)), None, False),
    ("polynomial", {"polynomial": {"power": 2.0, "final": 0.0}}, 0,
     lambda o: schedulers.PolynomialLR(o, STEPS, power=2.0), None, False),
    ("plateau of top-1", {"plateau": {"factor": 0.1, "patience": 1}}, 0,
     lambda o: schedulers.ReduceLROnPlateau(o, "max", factor=0.1, patience=1), TOP1, True),
    ("plateau of the loss", {"plateau": {"on": "loss", "factor": 0.5, "patience": 0, "cooldown": 1, "min": 0.02}}, 0,
     lambda o: schedulers.ReduceLROnPlateau(o, "min", factor=0.5, patience=0, cooldown=1, min_lr=0.02, eps=0.0), LOSS, True),
]


def run(make, figures, epochs):
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = make(opt)
    rates = []
    for step in range(STEPS):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        if not epochs:
            scheduler.step()
        elif (step + 1) % EPOCH == 0:
            scheduler.step(*([figures[step // EPOCH]] if figures else []))
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the file")
    args = parser.parse_args()
    cases = [
        {"name": name, "schedule": schedule, "warmup_epochs": warmup, "rates": run(make, figures, epochs)}
        for name, schedule, warmup, make, figures, epochs in CASES
    ]
    document = {"about": "written by scripts/schedule_vectors.py", "lr": LR, "epoch": EPOCH, "top1": TOP1, "loss": LOSS}
    if args.write:
        head = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in document.items())
        lines = ",\n".join(f"    {json.dumps(case)}" for case in cases)
        FILE.write_text(f'{{\n{head}  "cases": [\n{lines}\n  ]\n}}\n')
        return
    kept = json.loads(FILE.read_text())
    same = len(kept["cases"]) == len(cases) and all(
        here["schedule"] == there["schedule"]
        and all(math.isclose(a, b, rel_tol=1e-12) for a, b in zip(here["rates"], there["rates"], strict=True))
        for here, there in zip(cases, kept["cases"])
    )
    print("the file is what PyTorch gives" if same else "the file differs from what PyTorch gives")
    sys.exit(not same)


if __name__ == "__main__":
    main()
