#!/usr/bin/env python3
"""Holds the protocols of `top5 eval` to PyTorch's: the same weights and photographs, probabilities within 1e-5.

The ten crops are torchvision's TenCrop after Resize(256) and CenterCrop(256); the others are written out here, from the papers and
with Pillow, without a look at top5's code. Usage:

    scripts/protocols_beside_torchvision.py [TOP5 [FOLDER OF PHOTOGRAPHS [NUMBER OF THEM [PROTOCOL…]]]]

TOP5 is the program, target/release/top5 by default; the photographs are named WNID_label.JPEG; all
protocols unless some are named. Needs torch, torchvision, Pillow.
"""

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


def ten(image):
    prepare = T.Compose([T.Resize(256), T.CenterCrop(256), T.TenCrop(224)])
    return list(prepare(image))


def squares(image, shorters, which):
    views = []
    for shorter in shorters:
        at = scaled(image, shorter)
        width, height = at.size
        of_scale = []
        for place in which:
            top, left = round((height - shorter) * place), round((width - shorter) * place)
            square = box(at, top, left, shorter, shorter)
            of_scale += five(square, 224) + [square.resize((224, 224), Image.BILINEAR)]
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
    for shorter in [224, 256, 384, 480, 640]:
        x = TO_INPUT(scaled(image, shorter))[None]
        body = torch.nn.Sequential(*list(network.children())[:-2])
        x = body(x)
        x = F.avg_pool2d(x, 7, 1) if windows else x.mean((2, 3), keepdim=True)
        logits = linear_as_convolution(network.fc, x.shape[1], 1, x)
        rows.append(F.softmax(logits.double().mean((2, 3))[0], 0))
    return torch.stack(rows).mean(0)


def every_offset(network, image, shorters):
    """OverFeat's scheme on torchvision's AlexNet: the last pooling, 3x3 with stride 2, at its four offsets."""
    rows = []
    for shorter in shorters:
        for view in with_mirrors([scaled(image, shorter)]):
            x = network.features[:-1](TO_INPUT(view)[None])
            logits = []
            for dy in range(2):
                for dx in range(2):
                    pooled = F.max_pool2d(x[:, :, dy:, dx:], 3, 2)
                    logits.append(classify_map(network, pooled, 6).amax((2, 3))[0])
            rows.append(F.softmax(torch.stack(logits).amax(0).double(), 0))
    return torch.stack(rows).mean(0)


def ordinary(network, photographs):
    """Running statistics and a last layer under which logits differ by a few."""
    inputs = torch.stack([TO_INPUT(T.CenterCrop(224)(scaled(image, 256))) for image in photographs])
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
    build = {name: getattr(torchvision.models, name) for name in ["resnet18", "vgg11", "alexnet"]}
    networks = {name: make() for name, make in build.items()}
    for network in networks.values():
        ordinary(network, photographs)
    resnet, vgg, alexnet = networks.values()
    three = [256, 384, 512]
    cases = [
        ("resnet18", "10-crop", lambda image: mean_of(resnet, ten(image))),
        ("resnet18", "12-crop", lambda image: mean_of(resnet, squares(image, [256], [0.5]))),
        ("resnet18", "144-crop", lambda i: mean_of(resnet, squares(i, [256, 288, 320, 352], [0, 0.5, 1]))),
        ("resnet18", "150-crop", lambda image: mean_of(resnet, grid(image))),
        ("resnet18", "resnet-dense", lambda image: fully_convolutional(resnet, image, False)),
        ("resnet18", "resnet-dense-windows", lambda image: fully_convolutional(resnet, image, True)),
        ("resnet18", "320-crop", lambda image: mean_of(resnet, [T.CenterCrop(320)(scaled(image, 352))])),
        ("vgg11", "vgg-dense-3", lambda image: dense(vgg, image, three, 7)),
        ("vgg11", "vgg-crops+dense", lambda i: (mean_of(vgg, grid(i)) + dense(vgg, i, three, 7)) / 2),
        ("alexnet", "overfeat@245,281", lambda image: every_offset(alexnet, image, [245, 281])),
    ]
    if arguments[3:]:
        cases = [case for case in cases if case[1] in arguments[3:]]
    worst_of_all = 0.0
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        for file in files:
            target = place / "photos" / file.name.split("_")[0]
            target.mkdir(parents=True)
            (target / file.name).write_bytes(file.read_bytes())
        for name, network in networks.items():
            torch.save(network.state_dict(), place / f"{name}.pth")
        synsets = sorted(target.name for target in (place / "photos").iterdir())
        for name, protocol, ours in cases:
            registered = {"alexnet": "alexnet_owt"}.get(name, name)
            command = [program, "eval", registered, "--weights", place / f"{name}.pth", "--split", "all"]
            command += ["--data", place / "photos", "--protocol", protocol, "--save", place / "answers"]
            command += ["--batch-size", "16", "--exact", "--quiet"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            images, classes, theirs = saved(place / "answers")
            assert classes == synsets, (classes, synsets)
            numbers = numbers_of(classes)
            worst = 0.0
            for image, row in zip(images, theirs):
                photograph = photographs[[file.name for file in files].index(Path(image).name)]
                want = ours(photograph).numpy()[numbers]
                worst = max(worst, float(np.abs(row - want / want.sum()).max()))
            print(f"{name:9} {protocol:22} {worst:.2e}", flush=True)
            worst_of_all = max(worst_of_all, worst)
    if worst_of_all > BOUND:
        sys.exit(f"probabilities differ by {worst_of_all:.2e}, more than {BOUND:.0e}")


def numbers_of(wnids):
    """The numbers of these WNIDs among ImageNet's thousand, from the repository's list."""
    path = Path(__file__).resolve().parent.parent / "crates/top5-eval/src/imagenet.txt"
    order = [line.split(" ")[0] for line in path.read_text().splitlines()]
    return [order.index(wnid) for wnid in wnids]


if __name__ == "__main__":
    main()
