"""Writes resize.txt and the images of ../images with Pillow 13, whose results are the expectation. Run: python3 make.py [FOLDER]

resize.txt: channels, height, width, new height, new width, filter, CRC-32 of the resized bytes. The pixels of the input are the
upper bytes of a linear congruential generator, so that the test can make them again.
jpeg.txt, where a folder of JPEG files is given: for each file its name and the CRC-32 of its pixels, converted to RGB.
images/NAME.EXT: a small image; images/NAME_EXT.pixels: what Pillow decodes from it, converted to RGB, order H W C.
"""

import os
import struct
import sys
import zlib

import numpy
from PIL import Image

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SIZES = [
    ((8, 8), (20, 20)), ((8, 8), (28, 28)), ((1, 1), (3, 5)), ((2, 3), (7, 11)), ((37, 53), (37, 28)), ((37, 53), (28, 53)),
    ((100, 75), (28, 28)), ((375, 500), (256, 341)), ((200, 150), (256, 192)), ((300, 7), (28, 28)), ((5, 400), (28, 28)),
    ((64, 64), (1, 1)), ((224, 224), (299, 299)), ((333, 333), (111, 111)), ((99, 101), (33, 202)),
    ((100, 80), (60, 60)), ((100, 80), (59, 60)), ((101, 80), (60, 60)), ((60, 20), (61, 40)), ((500, 375), (341, 256)),
]


def noise(size):
    state, values = 1, bytearray()
    for _ in range(size):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state >> 24)
    return bytes(values)


def resized():
    for channels in (1, 3):
        for (height, width), (new_height, new_width) in SIZES:
            image = Image.frombytes("L" if channels == 1 else "RGB", (width, height), noise(height * width * channels))
            for name, filter in FILTERS.items():
                crc = zlib.crc32(image.resize((new_width, new_height), filter).tobytes())
                yield f"{channels} {height} {width} {new_height} {new_width} {name} {crc:08x}"


def png16(path, colour_type, array):
    """A PNG of 16-bit samples: Pillow cannot write RGB ones."""
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def images(folder):
    height, width = 13, 17
    y, x = numpy.mgrid[0:height, 0:width]
    rgb = numpy.stack([x * 15, y * 19, (x * y) % 200 + 20], axis=2).astype(numpy.uint8)
    rgb[4:8, 5:9] = [250, 10, 30]
    alpha = ((x + y) * 8).astype(numpy.uint8)
    colour, opacity = Image.fromarray(rgb), Image.fromarray(alpha)
    gray = colour.convert("L")
    rgba = Image.merge("RGBA", (*colour.split(), opacity))
    path = lambda name: os.path.join(folder, name)
    for name in ("rgb.png", "rgb.bmp", "rgb.ppm"):
        colour.save(path(name))
    for name in ("gray.png", "gray.bmp", "gray.pgm"):
        gray.save(path(name))
    colour.save(path("lossless.webp"), lossless=True, exact=True)
    colour.save(path("lossy.webp"), quality=90)
    rgba.save(path("alpha.png"))
    rgba.save(path("alpha.webp"), lossless=True, exact=True)
    Image.merge("LA", (gray, opacity)).save(path("gray_alpha.png"))
    colour.quantize(16).save(path("palette.png"), bits=4)
    colour.quantize(16).save(path("palette.bmp"))
    colour.quantize(16).save(path("transparent_palette.png"), transparency=3)
    gray.convert("1").save(path("bits.png"))
    gray.convert("1").save(path("bits.pbm"))
    deep = rgb.astype(numpy.uint16) * 256 + 255 - rgb
    png16(path("deep.png"), 2, deep)
    png16(path("deep_alpha.png"), 6, numpy.dstack([deep, alpha.astype(numpy.uint16) * 256]))
    colour.save(path("full.jpg"), quality=90, subsampling=0)
    colour.save(path("half.jpg"), quality=90, subsampling=2)
    colour.save(path("progressive.jpg"), quality=90, progressive=True)
    colour.save(path("progressive_full.jpg"), quality=40, subsampling=0, progressive=True)
    colour.save(path("wide.jpg"), quality=75, subsampling=1)
    colour.save(path("restart.jpg"), quality=80, subsampling=2, restart_marker_blocks=1)
    gray.save(path("gray.jpg"), quality=90)
    colour.convert("CMYK").save(path("cmyk.jpg"), quality=95)
    for name in sorted(os.listdir(folder)):
        stem, extension = name.split(".")
        if extension == "pixels":
            continue
        with Image.open(path(name)) as image, open(path(f"{stem}_{extension}.pixels"), "wb") as file:
            file.write(image.convert("RGB").tobytes())


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "resize.txt"), "w") as file:
        file.write("\n".join(resized()) + "\n")
    images(os.path.join(here, "..", "images"))
    for folder in sys.argv[1:]:
        with open(os.path.join(here, "jpeg.txt"), "w") as file:
            for name in sorted(os.listdir(folder)):
                with Image.open(os.path.join(folder, name)) as image:
                    file.write(f"{name} {zlib.crc32(image.convert('RGB').tobytes()):08x}\n")
