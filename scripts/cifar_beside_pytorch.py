"""ResNet-20 on CIFAR-10 by section 4.2 of its paper, shortened, here and in PyTorch: wall time and final top-1, side by side.

    tar xf cifar10-jpeg.tar.gz -C /tmp
    python3 scripts/cifar_beside_pytorch.py target/release/top5 /tmp/cifar10 [--epochs 10] [--seeds 0,1,2] [--out DIR]

Both learn from all images of `train/`, in batches of 128 of which the last that is not full is left out, and are measured on `test/`
after the last epoch. Both have the recipe `resnet20-cifar10`: SGD with momentum 0.9 and decay 1e-4 of all parameters, rate 0.1,
a tenth of it after half of the epochs and a hundredth after three quarters; 4 pixels of black on each side and a part of 32×32, mirrored half of the time;
weights from N(0, 2/fan_in), biases 0, shortcuts without parameters (option A). Seeds are given to both, and mean other numbers
in each. PyTorch gets what makes it fast: channels last, all images decoded once into memory, crops and mirrors of whole batches;
`--threads` threads each. One JSON line per epoch of PyTorch's, and one per run: seconds from the first image read to the last test
image, top-1, and how often the slower one's time the faster one took. top5's runs stay in --out with their logs. Needs PyTorch,
NumPy and Pillow.
"""

import argparse
import json
import math
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])
BATCH, PADDING = 128, 4


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more // 2))
        return torch.relu(x + y)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        blocks, inputs = [], 16
        for stage in range(3):
            for block in range(3):
                outputs = 16 << stage
                blocks.append(Block(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.blocks, self.linear = nn.Sequential(*blocks), nn.Linear(64, 10)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        x = self.blocks(torch.relu(self.bn1(self.conv1(x))))
        return self.linear(x.mean((2, 3)))


def read(folder):
    """All images of a folder with one folder per class, as bytes [n, 32, 32, 3], and their labels."""
    images, labels = [], []
    for label, name in enumerate(sorted(path.name for path in folder.iterdir() if path.is_dir())):
        for path in sorted((folder / name).iterdir()):
            images.append(np.asarray(Image.open(path).convert("RGB")))
            labels.append(label)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


def normalised(images):
    return ((images.float() / 255 - MEAN) / STD).permute(0, 3, 1, 2)  # N H W C in memory: channels last


def changed(images, generator):
    """Each image's own part of the padded image, mirrored half of the time."""
    n, side = len(images), images.shape[1]
    padded = functional.pad(images, (0, 0, PADDING, PADDING, PADDING, PADDING))
    top, left = torch.randint(0, 2 * PADDING + 1, (2, n), generator=generator)
    steps = torch.arange(side)
    columns = steps.expand(n, side).clone()
    mirrored = torch.rand(n, generator=generator) < 0.5
    columns[mirrored] = columns[mirrored].flip(1)
    rows = (top[:, None] + steps)[:, :, None]
    return padded[torch.arange(n)[:, None, None], rows, (left[:, None] + columns)[:, None, :]]


def right(model, images, labels):
    model.eval()
    with torch.no_grad():
        batches = zip(images.split(1000), labels.split(1000))
        return sum((model(normalised(x)).argmax(1) == y).sum().item() for x, y in batches)


def in_pytorch(args, seed):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    began = time.perf_counter()
    (images, labels), (test, answers) = read(args.data / "train"), read(args.data / "test")
    model = ResNet20().to(memory_format=torch.channels_last)
    descent = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    milestones = [args.epochs / 2, args.epochs * 3 / 4]
    steps = len(images) // BATCH
    for epoch in range(args.epochs):
        model.train()
        order, total = torch.randperm(len(images), generator=generator), 0.0
        for step in range(steps):
            done = epoch + step / steps
            for group in descent.param_groups:
                group["lr"] = 0.1 * 0.1 ** sum(done >= milestone for milestone in milestones)
            at = order[step * BATCH : (step + 1) * BATCH]
            loss = functional.cross_entropy(model(normalised(changed(images[at], generator))), labels[at])
            descent.zero_grad()
            loss.backward()
            descent.step()
            total += loss.item()
        if not math.isfinite(total):
            raise SystemExit(f"PyTorch's loss is {total} in epoch {epoch + 1}")
        row = {"program": "pytorch", "seed": seed, "epoch": epoch + 1, "train_loss": round(total / steps, 4)}
        print(json.dumps(row), flush=True)
    top1 = 100 * right(model, test, answers) / len(test)
    return time.perf_counter() - began, top1


def in_top5(args, seed):
    out = args.out / f"top5-{args.epochs}-{seed}"
    half, rest = args.epochs / 2, args.epochs * 3 / 4
    command = [args.top5, "train", "resnet20-cifar10", "--data", args.data, "--out", out, "--epochs", args.epochs]
    command += ["--seed", seed, "--validation", 0, "--threads", args.threads, "--json", "--progress", "plain", "--no-report"]
    command += ["--set", f"schedule.step.milestones=[{half},{rest}]"]
    if args.precision:
        command += ["--precision", args.precision]
    began = time.perf_counter()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return time.perf_counter() - began, json.loads(done.stdout)["test"]["top1"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("top5")
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", help="top5's; f32 by default")
    parser.add_argument("--out", type=Path, default=Path("cifar-beside-pytorch"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    runs = {"top5": [], "pytorch": []}
    for seed in map(int, args.seeds.split(",")):
        for program, work in (("top5", in_top5), ("pytorch", in_pytorch)):
            seconds, top1 = work(args, seed)
            runs[program].append((seconds, top1))
            row = {"program": program, "seed": seed, "epochs": args.epochs, "threads": args.threads}
            print(json.dumps({**row, "seconds": round(seconds, 1), "top1": top1}), flush=True)
    mean = {program: [statistics.mean(values) for values in zip(*of)] for program, of in runs.items()}
    line = {"torch": torch.__version__, "time_ratio": round(mean["top5"][0] / mean["pytorch"][0], 3)}
    line["top1"] = {program: round(of[1], 2) for program, of in mean.items()}
    line["top1_difference"] = round(mean["top5"][1] - mean["pytorch"][1], 2)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
