"""Whether others run what `top5 convert` writes, and top5 reads what they write.

    cargo build --release --bins --examples
    python3 scripts/round_trips.py [--folder target/release] [--small] [--markdown FILE] [NETWORK ...]

For every network of the registry (or those named), weights that are a hash of their names are converted and run by

- ONNX Runtime: batch normalisation folded or not, the batch fixed or free; the ONNX checker looks at each file first, and top5
  reads it back by its structure;
- timm, which builds and loads the folder by itself (`local-dir:`), where it has the network;
- torchvision, where it has the network; the ONNX files that PyTorch exports of both, folded or not, are read by top5;

and the logits are compared with those of top5's own engine, by relative L2. Then PyTorch writes what it loaded in both of its
containers and safetensors, and top5 must read the same bits back.

What is not installed is installed: into target/round-trips, from the package index, some 3 GB with PyTorch. With
`--small`, a few networks stand for all of them, and PyTorch is used only where this Python has it; where CI is set it must
have it. That is what `cargo xtask ci` runs.

The last line counts the failures, and the exit code is 1 if there are any.
"""

import argparse
import datetime
import filecmp
import importlib.metadata
import importlib.util
import inspect
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parents[1]
PINS = ROOT / "scripts/round_trips.txt"
TOLERANCE = 1e-4
ONNX_PEERS = ["numpy", "safetensors", "onnx", "onnxruntime"]
TORCH_PEERS = ["torch", "torchvision", "timm"]
# Every kind of layer but the constant factors of inception_resnet_v2; auxiliary heads, rounded-up pooling, groups.
SMALL = ["lenet5", "lenet", "googlenet", "googlenet_bn", "googlenet_cifar", "inception_v3", "resnet18", "resnet20_cifar"]
SMALL += ["densenet121", "dpn68", "seresnet18"]
# What torchvision calls them; elsewhere its name is ours, unless it stands for another network there.
TORCHVISION = {"alexnet_owt": "alexnet", "googlenet_bn": "googlenet"}
ANOTHER = {"alexnet", "googlenet"}


def install(packages):
    """Goes on in a Python that has these packages."""
    if all(importlib.util.find_spec(package) for package in packages):
        return
    folder = ROOT / "target/round-trips"
    python = folder / "bin/python"
    if pathlib.Path(sys.prefix) == folder:
        sys.exit(f"error: {folder} lacks one of {', '.join(packages)}: delete that folder")
    venv.create(folder, with_pip=True, system_site_packages=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--constraint", PINS, *packages], check=True)
    os.execv(python, [str(python), *sys.argv])


def distance(got, want):
    import numpy as np

    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        raise ValueError(f"logits of shape {got.shape} where {want.shape} were expected")
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


class Check:
    """One network in a folder of its own."""

    def __init__(self, programs, name, folder):
        from safetensors.numpy import load_file

        self.top5, self.name, self.folder = programs / "top5", name, pathlib.Path(folder)
        subprocess.run([programs / "examples/logits", name, folder], check=True, capture_output=True)
        self.weights = self.folder / "weights.safetensors"
        answers = load_file(self.folder / "logits.safetensors")
        self.images, self.logits = answers["images"], answers["logits"]
        self.states = {}

    def convert(self, out, *options, weights=None):
        out = self.folder / out
        given = ["--weights", weights or self.weights]
        subprocess.run(
            [self.top5, "convert", self.name, out, *given, "--force", "--quiet", *options],
            check=True,
            capture_output=True,
        )
        return out

    def onnx(self):
        """The worst distance of ONNX Runtime's logits over all forms of the file."""
        import onnx
        import onnxruntime

        worst = 0.0
        batch = len(self.images)
        for fold in [[], ["--no-fold"]]:
            for fixed in [[], ["--batch", str(batch)]]:
                path = self.convert("model.onnx", *fold, *fixed)
                onnx.checker.check_model(str(path), full_check=True)
                session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
                logits = session.run(None, {"input": self.images})[0]
                worst = max(worst, distance(logits, self.logits))
                if not fixed:
                    one = session.run(None, {"input": self.images[1:]})[0]
                    worst = max(worst, distance(one, self.logits[1:]))
                    worst = max(worst, self.read_back(path))
        path.unlink()
        return worst

    def read_back(self, path):
        """The distance of ONNX Runtime's logits for a file that top5 recognises by its structure and writes again."""
        import onnxruntime

        back = self.folder / "back.onnx"
        subprocess.run([self.top5, "convert", path, back, "--force", "--quiet"], check=True, capture_output=True)
        session = onnxruntime.InferenceSession(str(back), providers=["CPUExecutionProvider"])
        logits = session.run(None, {"input": self.images})[0]
        back.unlink()
        return distance(logits, self.logits)

    def timm(self):
        """timm's logits for the folder that top5 wrote; None where timm lacks the network."""
        import timm

        out = self.convert("timm")
        config = json.loads((out / "config.json").read_text())
        models = json.loads(subprocess.check_output([self.top5, "models", self.name, "--json"]))["models"]
        has = config["architecture"] in timm.list_models()
        if models[0]["timm"] != has:
            raise ValueError(f"top5 says {models[0]['timm']} to whether timm has the network, timm says {has}")
        if not has:
            return None
        model = timm.create_model(f"local-dir:{out}", pretrained=True)
        return max(self.run(model, out / "model.safetensors"), self.exported(model))

    def torchvision(self):
        """torchvision's logits for the safetensors that top5 wrote; None where torchvision lacks the network."""
        import torchvision
        from safetensors.torch import load_file

        name = TORCHVISION.get(self.name, self.name)
        if name not in torchvision.models.list_models() or self.name in ANOTHER:
            return None
        # Their transform of the input belongs to their weights, not to the network.
        other = {"transform_input": False, "init_weights": False, "aux_logits": True}
        model = torchvision.models.get_model(name, **(other if name in ("googlenet", "inception_v3") else {}))
        ours = self.convert("ours.safetensors")
        model.load_state_dict(load_file(ours), strict=True)
        return max(self.run(model, ours), self.exported(model))

    def exported(self, model):
        """The worst distance over the ONNX files that PyTorch exports, folded or not, once top5 has read them."""
        import warnings

        import torch

        worst = 0.0
        given = inspect.signature(torch.onnx.export).parameters
        # The exporter that all versions have.
        options = {"dynamo": False} if "dynamo" in given else {}
        for mode in [torch.onnx.TrainingMode.EVAL, torch.onnx.TrainingMode.PRESERVE]:
            path = self.folder / "theirs.onnx"
            images = torch.from_numpy(self.images)
            with warnings.catch_warnings():
                # Of constants that an export with unfolded normalisations should not have.
                warnings.simplefilter("ignore")
                torch.onnx.export(model.eval(), images, str(path), opset_version=13, training=mode, **options)
            worst = max(worst, self.read_back(path))
            path.unlink()
        return worst

    def run(self, model, file):
        """The logits of a model that has loaded this file."""
        import torch

        with torch.no_grad():
            logits = model.eval()(torch.from_numpy(self.images)).numpy()
        state = model.state_dict()
        # timm and torchvision often have the same names.
        self.states[frozenset(state)] = (state, file)
        return distance(logits, self.logits)

    def pytorch(self):
        """Whether the peers' state dicts (our tensors, where no peer has the network) come back from every container."""
        import torch
        from safetensors.torch import load_file, save_file

        states = list(self.states.values()) or [(load_file(self.weights), self.weights)]
        for state, file in states:
            whole = {name: tensor.contiguous() for name, tensor in state.items()}
            # The metadata differ, so what came back is compared with what top5 makes of its own file.
            ours = self.convert("want.safetensors", weights=file)
            for name, save in {
                "theirs.safetensors": lambda path: save_file(whole, path),
                "theirs.pth": lambda path: torch.save({"state_dict": state, "epoch": 3}, path),
                "theirs-old.pth": lambda path: torch.save(state, path, _use_new_zipfile_serialization=False),
            }.items():
                theirs = self.folder / name
                save(theirs)
                if not filecmp.cmp(self.convert("back.safetensors", weights=theirs), ours, shallow=False):
                    raise ValueError(f"{name} does not come back as it was")
                theirs.unlink()
        return True


def checks(check, torch):
    yield "ONNX Runtime", check.onnx
    if torch:
        yield "timm", check.timm
        yield "torchvision", check.torchvision
        yield "PyTorch's files", check.pytorch


def cell(answer):
    return {None: "–", True: "exact"}.get(answer) or f"{answer:.1e}"


def heading():
    installed = [package for package in TORCH_PEERS + ONNX_PEERS if importlib.util.find_spec(package)]
    versions = [f"{package} {importlib.metadata.version(package)}" for package in installed]
    return f"""# Round trips

<!-- Written by `python3 scripts/round_trips.py --markdown docs/round_trips.md`. -->

For those who take networks elsewhere: whether others compute what top5 computes, from the files that `top5 convert` writes.
The numbers are relative distances (L2) between their logits and those of top5's own engine, on two images; the script
fails above {TOLERANCE}. A dash: they lack the network.

- **ONNX Runtime** runs the file with batch normalisation folded and not, with the batch fixed and free, after the ONNX
  checker has passed it, and what top5 makes of its own files. The worst of all.
- **timm** builds the network from the folder by itself. **torchvision** loads the tensors strictly, auxiliary heads included.
  The ONNX files that PyTorch exports of both, folded and not, are read by top5 and run again.
- **PyTorch's files**: safetensors and both containers of `torch.save`, written from the peers' own state dicts (from top5's
  tensors where no peer has the network), come back bit for bit.

{datetime.date.today()}, {", ".join(versions)}.

| network | ONNX Runtime | timm | torchvision | PyTorch's files |
|---|---|---|---|---|
"""


def failed(error):
    if isinstance(error, subprocess.CalledProcessError):
        return error.stderr.decode().strip()
    return f"{type(error).__name__}: {error}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "target/release", help="where top5 was built")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--markdown", type=pathlib.Path, help="write a page with the results, or append to it")
    args = parser.parse_args()
    install(ONNX_PEERS if args.small and "CI" not in os.environ else ONNX_PEERS + TORCH_PEERS)
    torch = all(importlib.util.find_spec(package) for package in TORCH_PEERS)

    listed = subprocess.run([args.folder / "top5", "models", "--json"], check=True, capture_output=True)
    registered = [model["name"] for model in json.loads(listed.stdout)["models"] if not model["members"]]
    names = args.networks or (SMALL if args.small else registered)
    failures = 0
    for name in names:
        cells = []
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                check = Check(args.folder, name, folder)
                for peer, ask in checks(check, torch):
                    answer = ask()
                    cells.append(cell(answer))
                    if isinstance(answer, float) and not answer <= TOLERANCE:
                        raise ValueError(f"{peer}: {answer:.1e} is more than {TOLERANCE}")
                print(f"{name:<24}{'  '.join(cells)}  {time.monotonic() - start:.0f} s", flush=True)
            except Exception as error:  # One network that fails must not hide the others.
                failures += 1
                cells.append("fails")
                print(f"{name:<24}{'  '.join(cells)}  FAILED: {failed(error)}", flush=True)
        if args.markdown:
            page = args.markdown.read_text() if args.markdown.exists() else heading()
            args.markdown.write_text(f"{page}| `{name}` | {' | '.join(cells)} |\n")
    print(f"{len(names)} networks, {failures} failures")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
