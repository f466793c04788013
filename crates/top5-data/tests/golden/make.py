"""Writes resize.txt and the images of ../images with Pillow 13, whose results are the expectation. Run: python3 make.py [FOLDER]

resize.txt: channels, height, width, new height, new width, filter, CRC-32 of the resized bytes. The pixels of the input are the
upper bytes of a linear congruential generator, so that the test can make them again.
jpeg.txt, where a folder of JPEG files is given: for each file its name and the CRC-32 of its pixels, converted to RGB.
cjpeg and jpegtran of libjpeg-turbo write what Pillow cannot.
images/NAME.EXT: a small image; images/NAME_EXT.pixels: what Pillow decodes from it, converted to RGB, order H W C.
"""

import os
import struct
import subprocess
import sys
import zlib

import numpy
from PIL import Image

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
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


def bmp16(path, green_bits, array):
    """A BMP of 16 bits per pixel: Pillow cannot write them."""
    height, width = array.shape[:2]
    red, green, blue = (array[..., c].astype(numpy.uint16) >> (8 - bits) for c, bits in enumerate((5, green_bits, 5)))
    pixels = (red << (5 + green_bits) | green << 5 | blue).astype("<u2")
    masks = b"" if green_bits == 5 else struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    rows = b"".join(row.tobytes() + b"\0" * (-2 * width % 4) for row in pixels[::-1])
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 3 if masks else 0, len(rows), 2835, 2835, 0, 0)
    start = 14 + len(header) + len(masks)
    with open(path, "wb") as file:
        file.write(b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + masks + rows)


def without(jpeg, marker):
    """A JPEG file without its segments of this marker."""
    at, kept = 2, jpeg[:2]
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        kept += jpeg[at:end] if jpeg[at + 1] != marker else b""
        at = end
    return kept + jpeg[at:]


def odd_jpegs(path):
    """Files that Pillow reads and cannot write."""
    ppm, scans = path("rgb.ppm"), path("scans.txt")
    cjpeg = lambda name, *options: subprocess.run(["cjpeg", *options, "-outfile", path(name), ppm], check=True)
    with open(scans, "w") as file:
        file.write("0;\n2;\n1;\n")
    cjpeg("arithmetic.jpg", "-quality", "90", "-arithmetic")
    cjpeg("arithmetic_progressive.jpg", "-quality", "90", "-arithmetic", "-progressive", "-restart", "1B")
    cjpeg("tall.jpg", "-quality", "80", "-sample", "1x2")
    cjpeg("narrow.jpg", "-quality", "80", "-sample", "4x1")
    cjpeg("mixed.jpg", "-quality", "80", "-sample", "2x2,1x2,2x1")
    cjpeg("scans.jpg", "-quality", "85", "-scans", scans)
    os.remove(scans)
    data = lambda name: open(path(name), "rb").read()
    cjpeg("restarts.jpg", "-quality", "80", "-sample", "1x1", "-restart", "1B")
    scans = [at for at in range(len(data("progressive_full.jpg"))) if data("progressive_full.jpg")[at : at + 2] == b"\xff\xda"]
    changes = {
        "means_alone.jpg": data("progressive_full.jpg")[: scans[1]] + b"\xff\xd9",
        "unfinished.jpg": data("progressive_full.jpg")[: scans[6]] + b"\xff\xd9",
        "no_tables.jpg": without(data("half.jpg"), 0xC4),
        "ycck.jpg": data("cmyk.jpg").replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2"),
        "lost_restart.jpg": data("restarts.jpg").replace(b"\xff\xd1", b"").replace(b"\xff\xd3", b"\xff\xd4"),
        "wrong_restart.jpg": data("restarts.jpg").replace(b"\xff\xd1", b"\xff\xd5"),
        "early_end.jpg": data("restarts.jpg").replace(b"\xff\xd3", b"\xff\xd9"),
        "bad_code.jpg": data("full.jpg")[:-100] + b"\xfe" * 40 + data("full.jpg")[-60:],
    }
    for name, changed in changes.items():
        with open(path(name), "wb") as file:
            file.write(changed)


def odd_pnms(path, rgb, gray):
    """PNM files with other largest values than 255."""
    head = lambda kind, largest: f"P{kind}\n# {largest}\n17 13 # wide, high\n{largest}\n".encode()
    for name, kind, largest, values in (
        ("most_100.ppm", 6, 100, (rgb * (100 / 255)).astype(numpy.uint8)),
        ("most_1000.ppm", 6, 1000, (rgb * (1000 / 255)).astype(">u2")),
        ("most_65535.ppm", 6, 65535, rgb.astype(">u2") * 256 + rgb[::-1]),
        ("most_100.pgm", 5, 100, (gray * (100 / 255)).astype(numpy.uint8)),
    ):
        with open(path(name), "wb") as file:
            file.write(head(kind, largest) + values.tobytes())
    with open(path("most_15.ppm"), "wb") as file:
        file.write(head(3, 15) + " ".join(str(value // 16) for value in rgb.flatten()).encode())


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
    odd_pnms(path, rgb, numpy.asarray(gray))
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
    odd_jpegs(path)
    bmp16(path("bits15.bmp"), 5, rgb)
    bmp16(path("bits16.bmp"), 6, rgb)
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
