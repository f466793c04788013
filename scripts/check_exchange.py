"""Whether others run what `top5 convert` writes: ONNX Runtime, and torchvision and timm where they are installed.

    pip install numpy safetensors onnx onnxruntime      # and torch, torchvision, timm for the second half
    python scripts/check_exchange.py target/release/top5 [NETWORK ...]

For every network of ../shared/reference/forward, weights made from a hash (see its README) are written as safetensors,
converted to ONNX (folded and not, fixed and free batch) and to a timm folder, and the logits for the reference's
images are compared with the reference's. The last line counts the failures, and the exit code is 1 if there are any.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file, save_file

SHARED = pathlib.Path(os.environ.get("TOP5_SHARED", pathlib.Path(__file__).parents[2] / "shared"))
TOLERANCE = 1e-4


def draws(name, count):
    """The reference's values in [-1, 1): splitmix64 of the name's FNV-1a hash plus the index."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(count, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z = z ^ z >> np.uint64(31)
    return (2 * ((z >> np.uint64(40)).astype(np.float32) / np.float32(2**24)) - 1).astype(np.float32)


def tensor(name, shape, norms):
    layer, role = name.rsplit(".", 1)
    v = draws(name, int(np.prod(shape))).reshape(shape)
    if role == "running_mean":
        return np.float32(0.1) * v
    if role == "running_var":
        return np.float32(0.5) * v + np.float32(1)
    if role == "weight" and layer in norms:
        return np.float32(0.25) * v + np.float32(0.5)
    if len(shape) == 1:
        return np.float32(0.1) * v
    return np.float32(np.sqrt(6 / np.prod(shape[1:], dtype=np.float64))) * v


def distance(got, want):
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def peers(name, folder):
    """(peer's name, logits) of those that are installed and have the network."""
    try:
        import torch
    except ImportError:
        return
    state = {k: torch.from_numpy(v) for k, v in load_file(folder / "model.safetensors").items()}
    config = json.loads((folder / "config.json").read_text())
    images = torch.from_numpy(draws_images(name))
    for peer, build in (("torchvision", torchvision_model), ("timm", timm_model)):
        model = build(name, config)
        if model is not None:
            model.load_state_dict(state)
            with torch.no_grad():
                yield peer, model.eval()(images).numpy()


def torchvision_model(name, _config):
    import torchvision

    name = {"alexnet_owt": "alexnet", "googlenet_bn": "googlenet"}.get(name, name)
    if name not in torchvision.models.list_models():
        return None
    # Their transform of the input belongs to their weights, not to the network.
    other = {"transform_input": False, "init_weights": False}
    return torchvision.models.get_model(name, **(other if name in ("googlenet", "inception_v3") else {}))


def timm_model(_name, config):
    import timm

    name = config["architecture"]
    if name not in timm.list_models():
        return None
    return timm.create_model(name, num_classes=config["num_classes"])


def draws_images(name):
    shape = json.loads((SHARED / "reference/forward" / f"{name}.json").read_text())["input"]["shape"]
    return draws("input", int(np.prod(shape))).reshape(shape)


def check(top5, name, folder):
    """(what, relative L2) of everything that ran."""
    reference = json.loads((SHARED / "reference/forward" / f"{name}.json").read_text())
    names = [name for name, _ in reference["tensors"]]
    norms = {n.removesuffix(".running_mean") for n in names if n.endswith(".running_mean")}
    weights = {n: tensor(n, shape, norms) for n, shape in reference["tensors"]}
    save_file(weights, folder / "made.safetensors")
    images = draws_images(name)
    want = np.array(reference["logits"]).reshape(len(images), -1)

    def convert(out, *options):
        weights = ["--weights", folder / "made.safetensors"]
        subprocess.run([top5, "convert", name, out, *weights, *options], check=True, capture_output=True)

    for what, options in (
        ("onnx, folded", []),
        ("onnx, not folded, fixed batch", ["--no-fold", "--batch", str(len(images))]),
    ):
        out = folder / "model.onnx"
        convert(out, "--force", *options)
        onnx.checker.check_model(str(out), full_check=True)
        session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
        yield what, distance(session.run(None, {"input": images})[0], want)
    convert(folder / "timm")
    for peer, logits in peers(name, folder / "timm"):
        yield peer, distance(logits, want)


def main():
    top5, *names = sys.argv[1:]
    names = names or sorted(path.stem for path in (SHARED / "reference/forward").glob("*.json"))
    failures = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                for what, error in check(top5, name, pathlib.Path(folder)):
                    failures += not error <= TOLERANCE
                    print(f"{name:<24}{what:<32}{error:.1e}")
            except subprocess.CalledProcessError as error:
                failures += 1
                print(f"{name:<24}failed: {error.stderr.decode().strip()}")
            except Exception as error:  # One network that fails must not hide the others.
                failures += 1
                print(f"{name:<24}failed: {error}")
    print(f"{len(names)} networks, {failures} failures")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
