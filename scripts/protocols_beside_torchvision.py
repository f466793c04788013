#!/usr/bin/env python3
"""Holds the protocols of `top5 eval` to PyTorch's: the same weights and photographs, probabilities within 1e-5.

The ten crops are torchvision's TenCrop after Resize(256) and CenterCrop(256); the others are written out here, from the papers and
with Pillow, without a look at top5's code. Usage:

    scripts/protocols_beside_torchvision.py [TOP5 [FOLDER OF PHOTOGRAPHS [NUMBER OF THEM [NETWORK | PROTOCOL | NETWORK:PROTOCOL]…]]]

TOP5 is the program, target/release/top5 by default; the photographs are JPEG files; all networks by all of their
protocols unless some are named. Needs torch, torchvision, Pillow.
"""

import itertools
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.nn import functional as F
from torchvision import transforms as T

BOUND = 1e-5
# torchvision's; every network gets these, also those that were trained with others.
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TO_INPUT = T.Compose([T.ToTensor(), T.Normalize(MEAN, STD)])


def scaled(image, shorter):
    """The shorter side scaled, the other rounded down."""
    return T.Resize(shorter)(image)


def box(image, top, left, height, width):
    return image.crop((left, top, left + width, top + height))


def five(image, side):
    """Corners and centre."""
    width, height = image.size
    right, bottom = width - side, height - side
    middle = (round(bottom / 2), round(right / 2))
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), middle]
    return [box(image, top, left, side, side) for top, left in corners]


def with_mirrors(images):
    return images + [image.transpose(Image.FLIP_LEFT_RIGHT) for image in images]


def ten(image, shorter=256):
    prepare = T.Compose([T.Resize(shorter), T.CenterCrop(shorter), T.TenCrop(224)])
    return list(prepare(image))


def ten_patches_of_299(image):
    """Of 342 the centre lies on half a pixel: TenCrop's mirrored centre, cut from the mirror image, is not the patch mirrored, as it
    is in AlexNet's paper."""
    return with_mirrors(five(T.CenterCrop(342)(scaled(image, 342)), 299))


def squares(image, shorters, which, side=224):
    views = []
    for shorter in shorters:
        at = scaled(image, shorter)
        width, height = at.size
        of_scale = []
        for place in which:
            top, left = round((height - shorter) * place), round((width - shorter) * place)
            square = box(at, top, left, shorter, shorter)
            of_scale += five(square, side) + [square.resize((side, side), Image.BILINEAR)]
        views += with_mirrors(of_scale)
    return views


def grid(image):
    views = []
    for shorter in [256, 384, 512]:
        at = scaled(image, shorter)
        width, height = at.size
        rows = [round((height - 224) * i / 4) for i in range(5)]
        columns = [round((width - 224) * i / 4) for i in range(5)]
        views += with_mirrors([box(at, top, left, 224, 224) for top in rows for left in columns])
    return views


def mean_of(network, views):
    """The mean of the probabilities of some views, sixteen at once."""
    rows = []
    for start in range(0, len(views), 16):
        batch = torch.stack([TO_INPUT(view) for view in views[start : start + 16]])
        rows.append(F.softmax(network(batch).double(), 1))
    return torch.cat(rows).mean(0)


def linear_as_convolution(linear, channels, side, x):
    weight = linear.weight.view(linear.out_features, channels, side, side)
    return F.conv2d(x, weight, linear.bias)


def classify_map(network, x, side):
    """The classifier of torchvision's VGG or AlexNet slid over a map."""
    first = True
    for layer in network.classifier:
        if isinstance(layer, torch.nn.Linear):
            channels = x.shape[1]
            x = linear_as_convolution(layer, channels, side if first else 1, x)
            first = False
        elif isinstance(layer, torch.nn.ReLU):
            x = F.relu(x)
    return x


def dense(network, image, shorters, side):
    rows = []
    for shorter in shorters:
        for view in with_mirrors([scaled(image, shorter)]):
            x = network.features(TO_INPUT(view)[None])
            x = classify_map(network, x, side)
            rows.append(F.softmax(x.double().mean((2, 3))[0], 0))
    return torch.stack(rows).mean(0)


def fully_convolutional(network, image, windows):
    rows = []
    body = torch.nn.Sequential(*list(network.children())[:-2])
    for shorter in [224, 256, 384, 480, 640]:
        x = body(TO_INPUT(scaled(image, shorter))[None])
        x = F.avg_pool2d(x, 7, 1) if windows else x.mean((2, 3), keepdim=True)
        logits = linear_as_convolution(network.fc, x.shape[1], 1, x)
        rows.append(F.softmax(logits.double().mean((2, 3))[0], 0))
    return torch.stack(rows).mean(0)


def every_offset(network, views, window):
    """OverFeat's scheme: the last pooling, over windows of this side with a stride of 2, at its four offsets."""
    rows = []
    for view in with_mirrors(views):
        x = network.features[:-1](TO_INPUT(view)[None])
        logits = []
        for dy in range(2):
            for dx in range(2):
                pooled = F.max_pool2d(x[:, :, dy:, dx:], window, 2)
                logits.append(classify_map(network, pooled, 6).amax((2, 3))[0])
        rows.append(F.softmax(torch.stack(logits).amax(0).double(), 0))
    return torch.stack(rows).mean(0)


class OverFeatFast(torch.nn.Module):
    """Table 1 of Sermanet et al., 2014."""

    def __init__(self):
        super().__init__()
        pool = torch.nn.MaxPool2d(2, 2)
        layers = []
        for maps, (kernel, stride, padding), pooled in [
            (96, (11, 4, 0), True),
            (256, (5, 1, 0), True),
            (512, (3, 1, 1), False),
            (1024, (3, 1, 1), False),
            (1024, (3, 1, 1), True),
        ]:
            layers += [torch.nn.LazyConv2d(maps, kernel, stride, padding), torch.nn.ReLU()]
            layers += [pool] if pooled else []
        self.features = torch.nn.Sequential(*layers)
        full = [torch.nn.LazyLinear(3072), torch.nn.ReLU(), torch.nn.LazyLinear(4096), torch.nn.ReLU()]
        self.classifier = torch.nn.Sequential(*full, torch.nn.LazyLinear(1000))
        self(torch.zeros(1, 3, 231, 231))
        for layer in self.learnt():
            torch.nn.init.kaiming_normal_(layer.weight)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))

    def learnt(self):
        return [layer for layer in self.modules() if hasattr(layer, "weight")]

    def state_dict(self):
        """As top5 names the layers."""
        names = [f"conv{i}" for i in range(1, 6)] + [f"fc{i}" for i in range(1, 4)]
        layers = list(zip(names, self.learnt()))
        parts = ["weight", "bias"]
        return {f"{name}.{part}": getattr(layer, part) for name, layer in layers for part in parts}


# The fast network's map ends at 231 and every 16 pixels from there; the nearest such sizes to Table 5's.
FAST_SIZES = [(247, 247), (279, 311), (311, 391), (391, 455), (423, 503), (455, 567)]


def windows_of(image, sizes):
    """For each size the centre of the smallest scaled image that holds it; of a portrait, of that size turned."""
    views = []
    for size in sizes:
        height, width = size[::-1] if image.height > image.width else size
        for shorter in itertools.count(1):
            long = max(image.size) * shorter // min(image.size)
            at = (long, shorter) if image.height > image.width else (shorter, long)
            if at[0] >= height and at[1] >= width:
                break
        views.append(T.CenterCrop((height, width))(scaled(image, shorter)))
    return views


def ordinary(network, photographs, side):
    """Running statistics and a last layer under which logits differ by a few."""
    views = [T.CenterCrop(side)(scaled(image, side + 32)) for image in photographs]
    inputs = torch.stack([TO_INPUT(view) for view in with_mirrors(views)])
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    network(inputs)
    network.eval()
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    last.weight.mul_(3.0 / network(inputs).std())


def saved(path):
    """What `eval --save` wrote: names of images, names of classes, probabilities."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    about = json.loads(header["__metadata__"]["top5.predictions"])
    entry = header["log_probabilities"]
    start, end = entry["data_offsets"]
    values = np.frombuffer(raw[8 + length + start : 8 + length + end], "<f4")
    return about["images"], about["classes"], np.exp(values.reshape(entry["shape"]).astype("f8"))


def crops(cut):
    return lambda network, image: mean_of(network, cut(image))


def of_torchvision(name, **options):
    return lambda: getattr(torchvision.models, name)(**options)


THREE = [256, 384, 512]
# What top5 calls a network, what makes it, and the side of its input.
NETWORKS = {
    "resnet18": ("resnet18", of_torchvision("resnet18"), 224),
    "resnet50": ("resnet50", of_torchvision("resnet50"), 224),
    "resnext50": ("resnext50_32x4d", of_torchvision("resnext50_32x4d"), 224),
    "densenet121": ("densenet121", of_torchvision("densenet121"), 224),
    "inception_v3": ("inception_v3", of_torchvision("inception_v3", init_weights=True), 299),
    "vgg11": ("vgg11", of_torchvision("vgg11"), 224),
    "vgg16": ("vgg16", of_torchvision("vgg16"), 224),
    "vgg16_bn": ("vgg16_bn", of_torchvision("vgg16_bn"), 224),
    "alexnet": ("alexnet_owt", of_torchvision("alexnet"), 224),
    "overfeat_fast": ("overfeat_fast", OverFeatFast, 231),
}
CASES = [
    ("resnet18", "10-crop", crops(ten)),
    ("resnet18", "12-crop", crops(lambda image: squares(image, [256], [0.5]))),
    ("resnet18", "144-crop", crops(lambda image: squares(image, [256, 288, 320, 352], [0, 0.5, 1]))),
    ("resnet18", "150-crop", crops(grid)),
    ("resnet18", "resnet-dense", lambda net, image: fully_convolutional(net, image, False)),
    ("resnet18", "resnet-dense-windows", lambda net, image: fully_convolutional(net, image, True)),
    ("resnet18", "320-crop", crops(lambda image: [T.CenterCrop(320)(scaled(image, 352))])),
    ("resnet50", "resnet-dense", lambda net, image: fully_convolutional(net, image, False)),
    ("resnet50", "resnet-dense-windows", lambda net, image: fully_convolutional(net, image, True)),
    ("resnext50", "320-crop", crops(lambda image: [T.CenterCrop(320)(scaled(image, 352))])),
    ("densenet121", "10-crop@300", crops(lambda image: ten(image, 300))),
    ("inception_v3", "10-crop", crops(ten_patches_of_299)),
    ("inception_v3", "12-crop", crops(lambda image: squares(image, [342], [0.5], 299))),
    ("vgg11", "vgg-dense-3", lambda net, image: dense(net, image, THREE, 7)),
    ("vgg11", "vgg-crops+dense", lambda net, i: (mean_of(net, grid(i)) + dense(net, i, THREE, 7)) / 2),
    ("vgg16", "150-crop", crops(grid)),
    ("vgg16", "vgg-dense-3", lambda net, image: dense(net, image, THREE, 7)),
    ("vgg16", "vgg-crops+dense", lambda net, i: (mean_of(net, grid(i)) + dense(net, i, THREE, 7)) / 2),
    ("vgg16_bn", "vgg-dense@301", lambda net, image: dense(net, image, [301], 7)),
    ("alexnet", "vgg-dense-3@225,283,371", lambda net, image: dense(net, image, [225, 283, 371], 6)),
    ("alexnet", "overfeat@245,281", lambda net, i: every_offset(net, [scaled(i, 245), scaled(i, 281)], 3)),
    ("overfeat_fast", "overfeat", lambda net, i: every_offset(net, windows_of(i, FAST_SIZES), 2)),
]


def named(case, names):
    network, protocol, _ = case
    return any(name in (network, protocol, f"{network}:{protocol}") for name in names)


def main():
    arguments = sys.argv[1:]
    program = arguments[0] if arguments else "target/release/top5"
    here = Path(__file__).resolve().parent.parent
    folder = Path(arguments[1] if len(arguments) > 1 else here / "../shared/data/imagenet-samples")
    number = int(arguments[2]) if len(arguments) > 2 else 3
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    files = sorted(folder.glob("*.JPEG"))[:: max(1, 200 // number)][:number]
    photographs = [Image.open(file).convert("RGB") for file in files]
    cases = [case for case in CASES if not arguments[3:] or named(case, arguments[3:])]
    worst_of_all = 0.0
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        wnids = all_classes(place / "photos", files)
        for name, of_name in itertools.groupby(cases, lambda case: case[0]):
            registered, make, side = NETWORKS[name]
            network = make()
            ordinary(network, photographs, side)
            torch.save(network.state_dict(), place / "weights.pth")
            for _, protocol, ours in of_name:
                command = [program, "eval", registered, "--weights", place / "weights.pth"]
                command += ["--data", place / "photos", "--split", "all", "--protocol", protocol]
                command += ["--shard", f"1/{len(wnids) // len(files)}"]
                command += ["--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))]
                command += ["--batch-size", "16", "--exact", "--quiet", "--save", place / "answers"]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                images, classes, theirs = saved(place / "answers")
                assert classes == wnids
                assert [Path(image).name for image in images[: len(files)]] == [file.name for file in files]
                worst = 0.0
                for photograph, row in zip(photographs, theirs):
                    worst = max(worst, float(np.abs(row - ours(network, photograph).numpy()).max()))
                print(f"{name:13} {protocol:22} {worst:.2e}", flush=True)
                worst_of_all = max(worst_of_all, worst)
    if worst_of_all > BOUND:
        sys.exit(f"probabilities differ by {worst_of_all:.2e}, more than {BOUND:.0e}")


def all_classes(folder, files):
    """A folder with all of ImageNet's classes, so that none is left out: the first ones have a photograph each, the others a dot."""
    path = Path(__file__).resolve().parent.parent / "crates/top5-eval/src/imagenet.txt"
    wnids = [line.split(" ")[0] for line in path.read_text().splitlines()]
    for wnid, file in itertools.zip_longest(wnids, files):
        (folder / wnid).mkdir(parents=True)
        if file:
            (folder / wnid / file.name).write_bytes(file.read_bytes())
        else:
            Image.new("RGB", (1, 1)).save(folder / wnid / "dot.png")
    return wnids


if __name__ == "__main__":
    main()
