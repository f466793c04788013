"""One network of each family learns CIFAR-10, shortened: a table of top-1, time and memory, and one figure of their curves.

    tar xf cifar10-jpeg.tar.gz -C /tmp
    python3 scripts/families.py target/release/top5 /tmp/cifar10 --out families [--only LeNet,VGG] [--epochs 2] [--threads 2]

Each network has the recipe that the program gives its kind (docs/recipes.md), mirrored and cropped images, and the epochs below; those
that were made for larger images take them enlarged. A run that is done is not done again, and one that was stopped goes on. The
runs' folders with their weights, `families.md`, `families.json` and `curves.svg` are left in --out. Needs nothing but Python.
"""

import argparse
import html
import json
import os
import subprocess
import time
from pathlib import Path

# Family, network, epochs, what is set. AlexNet, ZFNet and GoogLeNet are scaled: smaller images than the papers'.
FAMILIES = [
    ("LeNet", "lenet", 10, []),
    ("AlexNet", "alexnet_28", 8, []),
    ("ZFNet", "zfnet", 4, ["--image-size", "64"]),
    ("VGG", "vgg11_bn_cifar", 5, ["--precision", "bf16"]),
    ("GoogLeNet", "googlenet_cifar", 3, ["--precision", "bf16"]),
    ("ResNet", "resnet20_cifar", 10, []),
    ("ResNeXt", "resnext50_cifar", 2, ["--precision", "bf16"]),
    ("SE-ResNet", "seresnet18_cifar", 3, ["--precision", "bf16"]),
]
COLOURS = ["#0072b2", "#d55e00", "#00805c", "#a6488a", "#8c6d00", "#56788c", "#b22222", "#333333"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 440, 60, 170, 30, 50


def train(args, network, epochs, more):
    """A run's document, its seconds and the most memory that its process took, in MiB."""
    out = args.out / network
    kept = out / "families.json"
    if kept.exists():
        return json.loads(kept.read_text())
    command = [args.top5, "train", network, "--data", args.data, "--out", out, "--epochs", args.epochs or epochs]
    command += ["--validation", "0.02", "--threads", args.threads, "--json", "--progress", "plain", *more]
    if (out / "config.resolved.toml").exists():
        command = [args.top5, "train", "--resume", "--out", out, "--json", "--progress", "plain", "--threads", args.threads]
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with open(args.out / f"{network}.log", "a") as log:
        child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True)
        text = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{network}: {' '.join(map(str, command))} ended with {status}: see {args.out}/{network}.log")
    document = json.loads(text)
    document["wall_seconds"] = round(time.perf_counter() - began, 1)
    document["peak_mib"] = round(usage.ru_maxrss / 1024)
    kept.write_text(json.dumps(document))
    return document


def curve(run):
    """The validation images' top-1 after each epoch, from the run's table."""
    header, *lines = (line.split(",") for line in (run / "summary.csv").read_text().splitlines())
    epoch, top1 = header.index("epoch"), header.index("eval_top1")
    return [(int(line[epoch]), float(line[top1])) for line in lines]


def figure(curves):
    """Top-1 on the validation images after each epoch, as SVG."""
    most = max(points[-1][0] for _, points in curves)
    x = lambda epoch: LEFT + (WIDTH - LEFT - RIGHT) * epoch / most
    y = lambda top1: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * top1 / 100
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" role="img">']
    lines.append("<title>Top-1 on CIFAR-10's validation images after each epoch, one network of each family</title>")
    lines.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>')
    for top1 in range(0, 101, 20):
        lines.append(f'<path d="M{LEFT},{y(top1):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y(top1) + 4:.1f}" text-anchor="end">{top1}</text>')
    for epoch in range(0, most + 1, max(1, most // 10)):
        lines.append(f'<text x="{x(epoch):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{epoch}</text>')
    lines.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">epochs</text>')
    lines.append(f'<text x="{LEFT}" y="{TOP - 12}">top-1, % of the validation images</text>')
    labels = []
    for (name, points), colour in zip(curves, COLOURS):
        path = "L".join(f"{x(epoch):.1f},{y(top1):.1f}" for epoch, top1 in [(0, 10.0), *points])
        lines.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.75"/>')
        lines.append(f'<circle cx="{x(points[-1][0]):.1f}" cy="{y(points[-1][1]):.1f}" r="3" fill="{colour}"/>')
        labels.append([y(points[-1][1]), name, points[-1][1], colour])
    labels.sort()
    for before, label in zip(labels, labels[1:]):
        label[0] = max(label[0], before[0] + 14)
    for at, name, top1, colour in labels:
        text = html.escape(f"{name} {top1:.1f} %")
        lines.append(f'<text x="{WIDTH - RIGHT + 8}" y="{at + 4:.1f}" fill="{colour}">{text}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("top5")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("families"))
    parser.add_argument("--only", help="these families, between commas")
    parser.add_argument("--epochs", type=int, help="for all of them; each its own by default")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else [family for family, *_ in FAMILIES]
    unknown = set(wanted) - {family for family, *_ in FAMILIES}
    if unknown:
        parser.error(f"no such family: {', '.join(sorted(unknown))}; there are {', '.join(f for f, *_ in FAMILIES)}")
    table, curves, rows = [], [], []
    for family, network, epochs, more in FAMILIES:
        if family not in wanted:
            continue
        document = train(args, network, epochs, more)
        top1 = document["test"]["top1"]
        row = {"family": family, "network": network, "parameters": document["plan"]["parameters"], "epochs": document["epochs"]}
        row |= {"top1": top1, "seconds": document["wall_seconds"], "peak_mib": document["peak_mib"], "set": " ".join(more)}
        rows.append(row)
        print(json.dumps(row), flush=True)
        curves.append((family, curve(args.out / network)))
        table.append("| {family} | `{network}` | {parameters:,} | {epochs} | {top1:.2f} | {seconds:.0f} | {peak_mib} |".format(**row))
    head = ["| family | network | parameters | epochs | top-1, % | seconds | MiB |", "|---|---|---:|---:|---:|---:|---:|"]
    (args.out / "families.md").write_text("\n".join([*head, *table, ""]))
    (args.out / "families.json").write_text(json.dumps(rows, indent=1) + "\n")
    (args.out / "curves.svg").write_text(figure(curves))


if __name__ == "__main__":
    main()
