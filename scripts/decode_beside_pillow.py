"""Decoding beside Pillow, which calls libjpeg-turbo: milliseconds per image on one thread, medians of rounds that take turns.

    cargo build --release --example decode
    python scripts/decode_beside_pillow.py FOLDER [ROUNDS]

Both read every image of the folder from memory, to RGB (top5 leaves gray as it is).
"""

import io
import pathlib
import statistics
import subprocess
import sys
import time

from PIL import Image, features

DECODE = pathlib.Path(__file__).parent.parent / "target/release/examples/decode"


def pillow(images):
    start = time.perf_counter()
    for image in images:
        Image.open(io.BytesIO(image)).convert("RGB")
    return (time.perf_counter() - start) / len(images) * 1e3


def top5(folder):
    """The first round of a process pays for its memory, the second one is what counts."""
    lines = subprocess.run([DECODE, folder, "2"], check=True, capture_output=True, text=True).stdout
    return float(lines.split()[1])


def main():
    folder, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 11
    images = [path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())]
    pillow(images)
    times = [(top5(folder), pillow(images)) for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*times))
    print(f"{len(images)} images, {rounds} rounds; libjpeg-turbo {features.version('libjpeg_turbo')}")
    print(f"top5 {ours:.2f} ms, Pillow {theirs:.2f} ms per image: ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
