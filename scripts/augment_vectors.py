#!/usr/bin/env python3
"""Writes what torchvision makes of Pillow images by each operation of augmentation, on given numbers.

    scripts/augment_vectors.py            # compare crates/top5-data/tests/golden/augment.txt with what comes out here
    scripts/augment_vectors.py --write    # write it

Needs torchvision and Pillow (Debian's python3-torchvision will do; the file is the same with Pillow 9.4 and 13).

A line has the kind, channels, height and width of an image, an operation, its numbers, and the CRC-32 of the bytes that come
out; or a policy, an operation, a bin, the number of bins, height, width, whether it has a sign, and the
magnitude, to six digits: `torch.linspace` rounds its last one as the machine's vectors want it. The pixels of the image are the upper
bytes of a linear congruential generator: `noise` as they are, `narrow` a third of them and 40, so that a histogram is not full,
`coarse` those of every eighth value, so that some values are frequent, `flat` 77 everywhere.
"""

import argparse
import math
import pathlib
import sys
import zlib

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import RandAugment, TrivialAugmentWide
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import _apply_op
from torchvision.transforms.functional import InterpolationMode

FILE = pathlib.Path(__file__).resolve().parent.parent / "crates/top5-data/tests/golden/augment.txt"
SAMPLING = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}
IMAGES = [
    ("noise", 3, 32, 32), ("noise", 1, 28, 28), ("noise", 3, 37, 53), ("noise", 3, 2, 5), ("noise", 1, 1, 1),
    ("narrow", 3, 40, 31), ("narrow", 1, 33, 20), ("coarse", 3, 64, 48), ("coarse", 1, 96, 96), ("flat", 3, 6, 7),
]
FACTORS = [0.0, 0.1, 0.5, 0.737, 1.0, 1.3, 1.9, 4.0]


def pixels(kind, size):
    state, values = 1, []
    for _ in range(size):
        state = (state * 1664525 + 1013904223) % 2**32
        value = state >> 24
        values.append({"noise": value, "narrow": value // 3 + 40, "coarse": value // 8 * 8, "flat": 77}[kind])
    return bytes(values)


def picture(kind, channels, height, width):
    return Image.frombytes("L" if channels == 1 else "RGB", (width, height), pixels(kind, channels * height * width))


def hue(image, factor):
    """torchvision 0.14 relies on a cast that numpy 2 refuses; the cast of later ones is this."""
    if image.mode == "L":
        return image
    h, s, v = image.convert("HSV").split()
    turned = np.array(h, dtype=np.uint8) + np.int32(factor * 255).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned), s, v)).convert(image.mode)


def colours():
    for name, of in [
        ("brightness", F.adjust_brightness), ("contrast", F.adjust_contrast), ("saturation", F.adjust_saturation),
        ("sharpness", F.adjust_sharpness),
    ]:
        for factor in FACTORS:
            yield name, [factor], lambda image, of=of, factor=factor: of(image, factor)
    for factor in (-0.5, -0.31, -0.1, -0.001, 0.0, 0.004, 0.1, 0.25, 0.5):
        yield "hue", [factor], lambda image, factor=factor: hue(image, factor)
    for bits in range(1, 9):
        yield "posterize", [bits], lambda image, bits=bits: F.posterize(image, bits)
    for threshold in (0.0, 0.5, 110.5, 128.0, 255.0, 256.0):
        yield "solarize", [threshold], lambda image, threshold=threshold: F.solarize(image, threshold)
    yield "invert", [], F.invert
    yield "autocontrast", [], F.autocontrast
    yield "equalize", [], F.equalize
    yield "grayscale", [], lambda image: F.rgb_to_grayscale(image, 3 if image.mode == "RGB" else 1)


def geometry():
    for sampling, mode in SAMPLING.items():
        for degrees in (0.0, 7.0, -15.0, 14.99, 45.0, 90.0, 135.0, -180.0, 270.0, 301.5, 360.0):
            yield "rotate", [degrees, sampling], lambda image, d=degrees, m=mode: F.rotate(image, d, m)
        for angle, x, y, scale, sx, sy in (
            (0.0, 0, 0, 1.0, 0.0, 0.0), (0.0, 3, -2, 1.0, 0.0, 0.0), (0.0, 0, 0, 0.7, 0.0, 0.0), (0.0, 1, 0, 1.31, 0.0, 0.0),
            (12.5, 0, 0, 1.0, 0.0, 0.0), (-30.0, 2, 5, 1.2, 10.0, 0.0), (0.0, 0, 0, 1.0, 17.3, -8.0), (170.0, -40, 0, 0.5, 0.0, 30.0),
        ):
            yield (
                "affine",
                [angle, x, y, scale, sx, sy, sampling],
                lambda image, m=mode, a=(angle, [x, y], scale, [sx, sy]): F.affine(image, *a, interpolation=m),
            )
        for op, magnitudes in {
            "ShearX": (0.0, 0.3, -0.99), "ShearY": (0.12, -0.3), "TranslateX": (2.9, -14.5), "TranslateY": (32.0, -1.0), "Rotate": (-27.0,),
            "Brightness": (-0.9, 0.45), "Color": (-0.27, 0.99), "Contrast": (-0.63,), "Sharpness": (-0.9, 0.9), "Posterize": (4.0, 2.0),
            "Solarize": (178.5,), "AutoContrast": (0.0,), "Equalize": (0.0,), "Invert": (0.0,), "Identity": (0.0,),
        }.items():
            for magnitude in magnitudes:
                yield (
                    "op",
                    [op, magnitude, sampling],
                    lambda image, o=op, v=magnitude, m=mode: _apply_op(image, o, v, m, None),
                )


def crops():
    for top, left, height, width in ((0, 0, 5, 5), (2, 1, 4, 3), (-4, 3, 32, 32)):
        yield "crop", [top, left, height, width], lambda image, a=(top, left, height, width): F.crop(image, *a)
    for padding in (1, 2, 4):
        for mode in ("constant", "edge", "reflect", "symmetric"):
            def padded(image, padding=padding, mode=mode):
                return F.pad(image, padding, 0, mode) if padding < min(image.size) else None
            yield "pad", [padding, mode], padded
    for top, left, height, width, size in ((0, 0, 1, 1, 8), (1, 2, 20, 11, 24), (3, 0, 25, 30, 17)):
        for filter in ("nearest", "bilinear", "bicubic"):
            def resized(image, a=(top, left, height, width, [size, size]), filter=filter):
                inside = a[0] + a[2] <= image.height and a[1] + a[3] <= image.width
                return F.resized_crop(image, *a, InterpolationMode(filter)) if inside else None
            yield "resized_crop", [top, left, height, width, size, filter], resized


def vectors():
    for kind, channels, height, width in IMAGES:
        image = picture(kind, channels, height, width)
        for ops in (colours(), geometry(), crops()):
            for name, numbers, of in ops:
                out = of(image)
                if out is not None:
                    crc = zlib.crc32(out.tobytes())
                    yield " ".join(map(str, [kind, channels, height, width, name, *numbers, f"{crc:08x}"]))


def magnitudes():
    for name, policy in (("rand", RandAugment()), ("trivial", TrivialAugmentWide())):
        for bins in (31, 10):
            for height, width in ((32, 32), (224, 160)):
                space = policy._augmentation_space(bins, (height, width)) if name == "rand" else policy._augmentation_space(bins)
                for op, (values, signed) in space.items():
                    for bin in range(0, bins, 3):
                        value = float(values[bin]) if values.ndim > 0 else 0.0
                        yield f"{name} {op} {bin} {bins} {height} {width} {int(signed)} {value:.6g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the file")
    args = parser.parse_args()
    lines = [*vectors(), *magnitudes()]
    if args.write:
        FILE.write_text("".join(f"{line}\n" for line in lines))
        return
    kept = FILE.read_text().splitlines()
    different = [pair for pair in zip(lines, kept) if pair[0] != pair[1]]
    for here, there in different[:20]:
        print(f"here {here}\nfile {there}")
    print(f"{len(lines)} lines, {len(different)} differ from the file's {len(kept)}")
    sys.exit(bool(different) or len(lines) != len(kept))


if __name__ == "__main__":
    main()
