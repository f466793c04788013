"""Decoding beside Pillow, which calls libjpeg-turbo: processor time per image on one thread, medians of rounds that take turns.

    cargo build --release --example decode
    python scripts/decode_beside_pillow.py FOLDER [ROUNDS]

Both read every image of the folder from memory, to RGB (top5 leaves gray as it is). Processor time leaves out what other programs take
of a machine.
"""

import io
import pathlib
import resource
import statistics
import subprocess
import sys
import time

from PIL import Image, features

DECODE = pathlib.Path(__file__).parent.parent / "target/release/examples/decode"


def pillow(images):
    start = time.process_time()
    for image in images:
        Image.open(io.BytesIO(image)).convert("RGB")
    return (time.process_time() - start) / len(images) * 1e3


def seconds(program, folder, rounds):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([program, folder, str(rounds)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def top5(program, folder, images):
    """Three rounds of a process more than its first one, which pays for its memory and for reading the files."""
    return (seconds(program, folder, 4) - seconds(program, folder, 1)) / 3 / len(images) * 1e3


def main():
    folder, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7
    program = sys.argv[3] if len(sys.argv) > 3 else DECODE
    images = [path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())]
    pillow(images)
    times = [(top5(program, folder, images), pillow(images)) for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*times))
    print(f"{len(images)} images, {rounds} rounds; libjpeg-turbo {features.version('libjpeg_turbo')}")
    print(f"top5 {ours:.2f} ms, Pillow {theirs:.2f} ms per image: ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
