"""From files to batches beside torchvision: images per second of a folder, of the folder packed, and of the folder packed decoded.

    cargo build --release && cargo build --release --example loading
    python scripts/loading_beside_torchvision.py FOLDER [ROUNDS]

The folder has images in one folder per class. A random part is resized to 224 and mirrored, in batches of 64: by top5 on two threads, by
torchvision's ImageFolder and PyTorch's DataLoader with two workers. Medians of rounds that take turns; each round is an epoch.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from torchvision import datasets, transforms

TARGET = pathlib.Path(__file__).parent.parent / "target/release"
PREPARE = transforms.Compose([
    transforms.RandomResizedCrop(224),
    transforms.RandomHorizontalFlip(),
    transforms.ToTensor(),
    transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
])


def torchvision(folder):
    """The workers are started before the clock."""
    dataset = datasets.ImageFolder(folder, PREPARE)
    loader = torch.utils.data.DataLoader(dataset, 64, shuffle=True, num_workers=2, persistent_workers=True)
    for _ in loader:
        pass
    while True:
        start = time.perf_counter()
        images = sum(len(labels) for _, labels in loader)
        yield images / (time.perf_counter() - start)


def top5(data, target):
    """The first round of a process pays for its memory, the second one is what counts."""
    lines = subprocess.run([target / "examples/loading", data, "2", "2"], check=True, capture_output=True, text=True).stdout
    return float(lines.split()[1])


def main():
    folder, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7
    target = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else TARGET
    theirs = torchvision(folder)
    with tempfile.TemporaryDirectory() as made:
        packed, decoded = f"{made}/packed.tar", f"{made}/decoded.tar"
        for out, flags in ((packed, []), (decoded, ["--side", "256"])):
            subprocess.run([target / "top5", "data", "pack", folder, "--out", out, "-q", *flags], check=True, stdout=subprocess.DEVNULL)
        rows = [(next(theirs), *(top5(data, target) for data in (folder, packed, decoded))) for _ in range(rounds)]
    reference, *ours = (statistics.median(column) for column in zip(*rows))
    print(f"torchvision {reference:.0f} images/s")
    for name, rate in zip(("folder", "packed", "packed with --side 256"), ours):
        print(f"top5, {name}: {rate:.0f} images/s, {rate / reference:.2f} times")


if __name__ == "__main__":
    main()
