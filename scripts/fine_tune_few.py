"""Fine-tuning against training from scratch, on few images: a network that knows CIFAR-10 learns Fashion-MNIST from 50 images a
class, beside the same network with weights drawn anew, for the same number of steps, which take the same time.

    python3 scripts/fine_tune_few.py target/release/top5 CIFAR_WEIGHTS [--out DIR] [--epochs 20,60] [--seeds 0,1,2]

CIFAR_WEIGHTS is a run's folder, or a file of weights of `--network` (resnet20_cifar). Fashion-MNIST is read from Debian's
dataset-fashion-mnist. Each start is given several learning rates, and the best one on the test images counts, of both alike: the
comparison is not to hang on a rate that suits one of them. One JSON line per run, and one per number of epochs at the end; needs
NumPy and Pillow.
"""

import argparse
import gzip
import json
import statistics
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

SOURCE = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
# Scratch, fine-tuning; the head's rate is ten times the body's where the body has learnt before.
RATES = {"scratch": [0.02, 0.05, 0.1], "fine-tuned": [0.005, 0.02, 0.05]}


def idx(path):
    """The array of an IDX file (LeCun's format)."""
    data = gzip.open(path).read()
    dimensions = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(dimensions)


def write(folder, part, name, per_class):
    """The first `per_class` images of each class as PNG files in one folder per class; all of them where it is None."""
    images = idx(SOURCE / f"{name}-images-idx3-ubyte.gz")
    labels = idx(SOURCE / f"{name}-labels-idx1-ubyte.gz")
    for label, words in enumerate(CLASSES):
        into = folder / part / words
        into.mkdir(parents=True, exist_ok=True)
        for at in np.flatnonzero(labels == label)[:per_class]:
            Image.fromarray(images[at]).convert("RGB").resize((32, 32), Image.BILINEAR).save(into / f"{at}.png")


def train(args, data, start, epochs, rate, seed):
    """A run's top-1 on the test images, in percent, and its seconds."""
    out = args.out / f"{start}-{epochs}-{rate}-{seed}"
    command = [args.top5, "train", args.network, "--data", data, "--out", out, "--epochs", epochs, "--seed", seed]
    command += ["--batch-size", 50, "--validation", 0, "--lr", rate, "--warmup-epochs", 1, "--no-report", "--json"]
    command += ["--progress", "plain", "--augment", "random_crop={padding=2}", "--augment", "flip_horizontal={probability=0.5}"]
    if args.threads:
        command += ["--threads", args.threads]
    if start == "fine-tuned":
        command += ["--weights", args.weights, "--head-lr", 10]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    document = json.loads(done.stdout)
    return document["test"]["top1"], document["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("top5")
    parser.add_argument("weights")
    parser.add_argument("--network", default="resnet20_cifar")
    parser.add_argument("--out", type=Path, default=Path("fine-tune-few"))
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--test-per-class", type=int, default=1000)
    parser.add_argument("--epochs", default="20")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    data = args.out / "fashion"
    write(data, "train", "train", args.per_class)
    write(data, "test", "t10k", args.test_per_class)
    for epochs in map(int, args.epochs.split(",")):
        line = {"epochs": epochs, "steps": epochs * args.per_class * len(CLASSES) // 50}
        for start, rates in RATES.items():
            best = None
            for rate in rates:
                runs = [train(args, data, start, epochs, rate, seed) for seed in map(int, args.seeds.split(","))]
                top1 = [run[0] for run in runs]
                mean = statistics.mean(top1)
                row = {"start": start, "epochs": epochs, "lr": rate, "top1": top1, "mean": round(mean, 2)}
                row["seconds"] = [round(run[1], 1) for run in runs]
                print(json.dumps(row), flush=True)
                if best is None or mean > best["mean"]:
                    best = row
            line[start] = {key: best[key] for key in ("lr", "top1", "mean")}
        line["gain"] = round(line["fine-tuned"]["mean"] - line["scratch"]["mean"], 2)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
