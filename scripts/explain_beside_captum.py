"""Compares what `top5 explain` says with Captum, on networks with random weights and an image that is drawn here.

    python3 -m venv --system-site-packages v && v/bin/pip install captum        # beside PyTorch and torchvision
    v/bin/python scripts/explain_beside_captum.py [--top5 target/release/top5] [--markdown] [NETWORK...]

Each distance is relative (L2) to Captum's answer in double precision. The bound is 1e-4, or three times the distance of
PyTorch's own single precision from its double precision where that is larger: one ReLU that flips near zero moves a map by
more than all rounding, and whether one does is luck, so that PyTorch runs with oneDNN and without, with the weights as they are
and moved by a unit in the last place, and the farthest of these counts. SmoothGrad gets top5's noise: a function of
seed, copy and element (crates/top5-graph/src/random.rs), which is written out here. Exits with 1 if a bound is passed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torchvision
from captum.attr import IntegratedGradients, LayerGradCam, LayerGradientXActivation, NoiseTunnel, Saliency
from torch import nn

STEPS, SAMPLES, LEVEL, SEED = 20, 10, 0.15, 5
MASK = (1 << 64) - 1
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def lenet():
    """LeCun et al. (1998) as top5 has it: unpadded, ReLU, max pooling."""
    names = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "fc1", "relu3", "fc2", "relu4", "fc3"]
    layers = [nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    layers += [nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(dict_of(names, layers))


def alexnet():
    """Krizhevsky et al. (2012), where alpha multiplies the sum: PyTorch divides it by the size."""
    norm = lambda: nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    names = ["conv1", "relu1", "lrn1", "pool1", "conv2", "relu2", "lrn2", "pool2", "conv3", "relu3", "conv4", "relu4"]
    layers = [nn.Conv2d(3, 96, 11, 4), nn.ReLU(), norm(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), norm(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU()]
    names += ["conv5", "relu5", "pool3", "flatten", "fc6", "relu6", "fc7", "relu7", "fc8"]
    layers += [nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten()]
    layers += [nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    return nn.Sequential(dict_of(names, layers))


def dict_of(names, layers):
    from collections import OrderedDict

    return OrderedDict(zip(names, layers, strict=True))


# Network: its PyTorch model, the module whose output is top5's default layer, side of the picture and of the crop from its
# middle, mean and standard deviation of red, green and blue.
CAFFE = ([123.68 / 255, 116.779 / 255, 103.939 / 255], [1 / 255] * 3)
NETWORKS = {
    "lenet": (lenet, lambda m: m.relu2, 28, 28, ([0.1307], [0.3081])),
    "alexnet": (alexnet, lambda m: m.relu5, 256, 227, CAFFE),
    "alexnet_owt": (torchvision.models.alexnet, lambda m: m.features[11], 256, 224, IMAGENET),
    "vgg11": (torchvision.models.vgg11, lambda m: m.features[19], 256, 224, IMAGENET),
    "resnet18": (torchvision.models.resnet18, lambda m: m.layer4, 256, 224, IMAGENET),
}


def mix(x):
    """SplitMix64's finaliser, on arrays of 64-bit numbers."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def noise(seed, copy, count):
    """Normal draws of the stream `smoothgrad`, as top5 makes them."""
    name = 0xCBF29CE484222325
    for byte in b"smoothgrad":
        name = ((name ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        key = mix(mix(np.uint64(seed)) ^ np.uint64(name))
        key = mix(key ^ mix(np.uint64(copy)))
        bits = mix(key + np.arange(2 * count, dtype=np.uint64)) >> np.uint64(11)
    u = (bits[0::2] + np.uint64(1)).astype(np.float64) / 2**53
    v = bits[1::2].astype(np.float64) / 2**53
    return (np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)).astype(np.float32)


def picture(side, channels):
    """Soft spots with some grain, as bytes, [side, side, channels]."""
    draws = np.random.default_rng(7)
    coarse = torch.from_numpy(draws.random((1, channels, 7, 7)))
    soft = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)[0].numpy()
    grain = draws.normal(scale=0.04, size=soft.shape)
    return (np.clip(soft + grain, 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)


def prepared(pixels, crop, mean, std):
    edge = (pixels.shape[0] - crop) // 2
    pixels = pixels[edge : edge + crop, edge : edge + crop]
    values = pixels.astype(np.float32) / np.float32(255) - np.float32(mean)
    return np.ascontiguousarray((values / np.float32(std)).transpose(2, 0, 1))[None]


def positive(model, layer, image):
    """The first class for which Grad-CAM finds positive evidence, which random weights may not give."""
    x = torch.from_numpy(image)
    cam = LayerGradCam(model, layer(model))
    return next(c for c in range(100) if cam.attribute(x, target=c, relu_attributions=True).any())


def captum(model, layer, image, copies, target, dtype):
    """The answers of Captum by method, computed in this type."""
    model = model.to(dtype)
    layer, x = layer(model), torch.from_numpy(image).to(dtype)
    image_of = lambda copy: torch.from_numpy(copy).to(dtype).reshape(x.shape)
    shifts = torch.cat([image_of(copy) - x for copy in copies])
    said = {}
    cam = LayerGradCam(model, layer).attribute(x, target=target, relu_attributions=True)
    said["grad-cam"] = cam.detach()
    cells = LayerGradientXActivation(model, layer).attribute(x, target=target)
    said["hires-cam"] = cells.sum(1, keepdim=True).clamp(min=0).detach()
    paths = IntegratedGradients(model)
    said["integrated-gradients"] = paths.attribute(
        x, baselines=0, target=target, n_steps=STEPS, method="riemann_middle", internal_batch_size=4
    ).detach()
    with mock.patch("torch.normal", lambda *_, **__: shifts):
        tunnel = NoiseTunnel(Saliency(model))
        said["smoothgrad"] = tunnel.attribute(
            x, nt_type="smoothgrad", nt_samples=SAMPLES, stdevs=1.0, target=target, abs=False
        ).detach()
    return {method: value.double().numpy().ravel() for method, value in said.items()}


def explained(top5, network, folder, weights, file, target):
    """The answers of top5 by method."""
    methods = "grad-cam,hires-cam,integrated-gradients,smoothgrad"
    command = [top5, "explain", methods, network, file, "--weights", weights, "--out", folder / "said", "--json", "-q"]
    command += ["--class", str(target), "--steps", str(STEPS), "--samples", str(SAMPLES), "--level", str(LEVEL)]
    command += ["--seed", str(SEED), "--force", "--exact"]
    document = json.loads(subprocess.run(list(map(str, command)), check=True, capture_output=True).stdout)
    said = {}
    for one in document["explanations"]:
        end = ".cells.npy" if "cam" in one["method"]["name"] else ".signal.npy"
        name = next(name for name in one["files"] if name.endswith(end))
        said[one["method"]["name"]] = np.load(folder / "said" / name).astype(np.float64).ravel()
    return said


def compare(top5, network, folder):
    """Yields method, the distance of top5 and that of PyTorch's single precision."""
    make, layer, side, crop, (mean, std) = NETWORKS[network]
    weights = folder / f"{network}.safetensors"
    subprocess.run([top5, "convert", network, "--init", "1", weights, "-q", "--force"], check=True)
    pixels = picture(side, len(mean))
    file = folder / f"{network}.pnm"
    file.write_bytes(b"P%d %d %d 255\n" % (6 if len(mean) == 3 else 5, side, side) + pixels.tobytes())
    from safetensors.numpy import load_file

    tensors = {name: torch.from_numpy(value) for name, value in load_file(weights).items()}
    model = make().eval()
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected and all("num_batches" in name for name in missing), (missing, unexpected)
    image = prepared(pixels, crop, mean, std)
    sigma = np.float32(LEVEL) * (image.max() - image.min())
    copies = [image.ravel() + sigma * noise(SEED, copy, image.size) for copy in range(SAMPLES)]
    target = positive(model, layer, image)
    double = captum(model, layer, image, copies, target, torch.float64)
    singles = []
    for moved in [False, True]:
        if moved:
            signs = torch.Generator().manual_seed(0)
            sign = lambda value: torch.randint(-1, 2, value.shape, generator=signs)
            tensors = {name: value * (1 + 1e-7 * sign(value)) for name, value in tensors.items()}
        model.float().load_state_dict(tensors, strict=False)
        for enabled in [True, False]:
            with torch.backends.mkldnn.flags(enabled=enabled):
                singles.append(captum(model, layer, image, copies, target, torch.float32))
    ours = explained(top5, network, folder, weights, file, target)
    distance = lambda a, b: float(np.linalg.norm(a - b) / np.linalg.norm(b))
    for method, want in double.items():
        assert want.any() and want.shape == ours[method].shape, (network, method, want.shape, ours[method].shape)
        yield method, distance(ours[method], want), max(distance(single[method], want) for single in singles)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", default=list(NETWORKS), help=", ".join(NETWORKS))
    parser.add_argument("--top5", default="target/release/top5")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    failed = 0
    if args.markdown:
        print("| network | method | top5 | PyTorch, f32 | bound |\n|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for network in args.networks:
            for method, ours, single in compare(args.top5, network, Path(folder)):
                bound = max(1e-4, 3 * single)
                failed += ours > bound
                cells = [network, method, f"{ours:.1e}", f"{single:.1e}", f"{bound:.1e}"]
                print("| " + " | ".join(cells) + " |" if args.markdown else " ".join(f"{cell:20}" for cell in cells))
                sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
