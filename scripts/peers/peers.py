"""top5 beside other engines, on the same graphs with the same weights, interleaved in one run.

    python peers.py prepare NETWORK ...              export and convert, into --work
    python peers.py run NETWORK ... --batch 1,8      measure inference
    python peers.py run NETWORK:BATCH ... --train    measure training steps and their memory
    python peers.py sweep [PATTERN ...]              prepare and run the zoo, what is not measured yet
    python peers.py first MODEL.safetensors PHOTO    time to the first prediction, whole processes
    python peers.py report                           the results as Markdown

Every peer is a process of its own (worker.py) that sleeps while it is not its turn. A round gives each peer the same
number of seconds, one after the other; the figure of a peer is the median of its rounds' medians. See README.md.
"""

import argparse
import datetime
import fnmatch
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
F32 = ["torch", "torch-channels-last", "torch-compile", "onnxruntime", "openvino", "ncnn", "mnn"]
# Measured where `--peers` names them.
RUST = ["burn", "candle", "tract", "rten"]
BF16 = ["torch-bf16", "openvino-bf16"]
TRAINING = ["torch-train", "torch-train-channels-last", "torch-train-bf16"]
# Seconds between turns, in which the threads of the last peer stop spinning.
PAUSE = 0.3
# A round in which the machine reached less than this part of the best peak so far is repeated, a few times at most.
QUIET = 0.93
REPEATS = 4
# What the logits may differ by, relative L2.
TOLERANCE = {"f32": 1e-3, "bf16": 1e-1}


def call(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr[-2000:]}")
    return done.stdout


# What the training steps of a sweep are taken of, beside the CIFAR networks at 64: ImageNet networks at 8.
TRAINED = ["alexnet", "zfnet", "vgg16", "googlenet", "inception_v3", "inception_v4", "resnet18", "resnet50",
           "resnext50_32x4d", "seresnet50", "densenet121", "dpn92"]


def sweep(args):
    """Every ImageNet network of the zoo, or the training steps; a network's files go when it is measured."""
    zoo = json.loads(call(args.top5, "models", "--json"))["models"]
    zoo = [net for net in zoo if any(fnmatch.fnmatch(net["name"], pattern) for pattern in args.patterns or ["*"])]
    if args.train:
        small = [net["name"] for net in zoo if net["input"] == [3, 32, 32]]
        cases = [(name, [64]) for name in small]
        cases += [(net["name"], [8]) for net in zoo if net["name"] in TRAINED]
    else:
        large = [net["name"] for net in zoo if net["classes"] == 1000 and net["input"][-1] >= 192]
        cases = [(name, [int(b) for b in args.batch.split(",")]) for name in large]
    mode = "training" if args.train else "inference"
    measured = {(r["network"], r["batch"]) for r in known(args) if r["mode"] == mode and r["commit"] == args.commit}
    for at, (name, batches) in enumerate(cases, 1):
        left = [batch for batch in batches if (name, batch) not in measured]
        if not left:
            continue
        print(f"{at} of {len(cases)}: {name}", file=sys.stderr)
        args.networks, args.batch = [name], ",".join(map(str, left))
        try:
            prepare(args)
            run(args)
        except (RuntimeError, OSError) as error:
            print(f"{name}: not measured: {error}", file=sys.stderr)
        for file in [file for file in args.work.glob(f"{name}.*") if file.is_file()]:
            file.unlink()


def prepare(args):
    args.work.mkdir(parents=True, exist_ok=True)
    for name in args.networks:
        net = args.work / name
        for out, options in ((".safetensors", []), (".onnx", []), (".train.onnx", ["--no-fold"])):
            call(args.top5, "convert", name, f"{net}{out}", "--init", "0", "--force", *options)
        without_biases(f"{net}.onnx")
        shape = json.loads(call(args.top5, "show", name, "--json"))["input"]
        tools = pathlib.Path(sys.executable).parent
        for what, command in (
            ("MNN", [tools / "mnnconvert", "-f", "ONNX", "--modelFile", f"{name}.onnx",
                     "--MNNModel", f"{name}.mnn", "--bizCode", "top5"]),
            ("ncnn", [tools / "pnnx", f"{name}.onnx", f"inputshape={[1, *shape]}".replace(" ", ""), "fp16=0"]),
        ):
            try:
                call(*command, cwd=args.work)
            except (RuntimeError, OSError) as error:
                print(f"{name}: not converted for {what}: {error}", file=sys.stderr)
        print(f"{name}: ready")


def without_biases(path):
    """Zeroes the biases, which would hide the input from the logits of a deep network with random weights."""
    import onnx

    model = onnx.load(path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm") and len(node.input) > 2:
            bias = weights[node.input[2]]
            bias.CopyFrom(onnx.numpy_helper.from_array(0 * onnx.numpy_helper.to_array(bias), bias.name))
    onnx.save(model, path)


class Worker:
    """A peer in its process."""

    def __init__(self, peer, model, batch):
        self.peer, self.rounds = peer, []
        self.process = subprocess.Popen(
            [sys.executable, HERE / "worker.py", peer, str(model), str(batch)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.stdin.close()
            raise RuntimeError(f"{self.peer} ended: {self.process.stderr.read()[-1500:]}")
        return json.loads(line)

    def round(self, seconds):
        print(seconds, file=self.process.stdin, flush=True)
        self.rounds.append(statistics.median(self.read()))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Top5:
    """top5, a new process each round; it says itself what it measured."""

    def __init__(self, name, args, network, batch, options=()):
        self.peer, self.rounds, self.documents = name, [], []
        weights = [] if args.train else ["--weights", args.work / f"{network}.safetensors"]
        mode = ["--train"] if args.train else []
        self.command = [args.top5, "bench", network, "--batch", batch, "--json", *weights, *mode, *options]

    def round(self, seconds):
        document = json.loads(call(*self.command, "--seconds", seconds))
        self.documents.append(document)
        self.rounds.append(document["results"][0]["ms"]["median"])

    def peak(self):
        return self.documents[-1]["results"][0]["peak_gflops"]

    def probe(self):
        document = json.loads(call(self.command[0], "bench", "lenet", "--seconds", "0", "--json"))
        return document["results"][0]["peak_gflops"]

    def close(self):
        last = self.documents[-1]["results"][0]
        peaks = [d["results"][0]["peak_gflops"] for d in self.documents]
        self.facts = {
            "version": self.documents[-1]["version"],
            "isa": self.documents[-1]["isa"],
            "peak_gflops": statistics.median(peaks),
            "macs": last["macs"],
            "planned": last["planned_bytes"],
            "grown": last["grown_bytes"],
            "peak": last["resident_bytes"],
        }


def processor():
    names = (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    return next(names, "?")


def distance(got, want):
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(got, want)) / sum(b * b for b in want))


def measure(network, batch, args):
    model = args.work / f"{network}{'.train' if args.train else ''}.onnx"
    wanted = args.peers or (TRAINING if args.train else F32 + BF16)
    peers, failed = [Top5("top5", args, network, batch)], {}
    for name, options in (option.split("=", 1) for option in args.variant):
        peers.append(Top5(name, args, network, batch, options.split()))
    workers = [Worker(peer, model, batch) for peer in wanted]
    for worker in workers:
        try:
            worker.facts = worker.read()
            peers.append(worker)
        except RuntimeError as error:
            failed[worker.peer] = str(error).strip().splitlines()[-1]
    reference = next((p.facts["logits"] for p in peers if p.peer == "onnxruntime"), None)
    cpu = processor()
    best = max((r["peers"]["top5"]["peak_gflops"] for r in known(args) if r.get("cpu") == cpu), default=0.0)
    repeats, done = 0, 0
    while done < args.rounds:
        for peer in list(peers):
            time.sleep(PAUSE)
            try:
                peer.round(args.seconds)
            except (RuntimeError, OSError) as error:
                failed[peer.peer] = str(error).strip().splitlines()[-1]
                peers.remove(peer)
        # The peak before the round, which top5 probed, and after it.
        reached = min(peers[0].peak(), peers[0].probe())
        best = max(best, reached)
        if reached < QUIET * best and repeats < REPEATS:
            repeats += 1
            for peer in peers:
                peer.rounds.pop()
        else:
            done += 1
    results = {}
    for peer in peers:
        peer.close()
        facts = peer.facts
        logits = facts.pop("logits", None)
        if not args.train and logits and reference:
            facts["distance"] = distance(logits, reference)
            if facts["distance"] > TOLERANCE["bf16" if "bf16" in peer.peer else "f32"]:
                failed[peer.peer] = f"other logits than ONNX Runtime's: {facts['distance']:.1e}"
                continue
        rounds = sorted(peer.rounds)
        if args.train and "before" in facts:
            facts["grown"] = facts["peak"] - facts["before"]
        results[peer.peer] = {"ms": statistics.median(rounds), "least": rounds[0], "most": rounds[-1], **facts}
    return {
        "date": datetime.datetime.now().isoformat(timespec="minutes"),
        "cpu": cpu,
        "threads": os.cpu_count(),
        "commit": args.commit,
        "network": network,
        "batch": batch,
        "mode": "training" if args.train else "inference",
        "rounds": args.rounds,
        "seconds": args.seconds,
        "repeated": repeats,
        "peers": results,
        "failed": failed,
    }


def run(args):
    cases = []
    for network in args.networks:
        name, _, batch = network.partition(":")
        cases += [(name, int(b)) for b in (batch or args.batch).split(",")]
    for network, batch in cases:
        result = measure(network, batch, args)
        store(args, (network, batch, result["mode"]), result)
        figures = ", ".join(f"{p} {r['ms']:.3g}" for p, r in result["peers"].items())
        print(f"{network} batch {batch} {result['mode']}: {figures} {result['failed'] or ''}", flush=True)


def known(args):
    return json.loads(args.results.read_text()) if args.results.exists() else []


def store(args, key, result):
    """The newest result of each case is kept."""
    kept = [r for r in known(args) if (r["network"], r["batch"], r["mode"]) != key]
    args.results.write_text(json.dumps(kept + [result], indent=1))


TORCH_FIRST = """
import sys, torch, torchvision
from PIL import Image
from safetensors.torch import load_file
net = torchvision.models.resnet50()
net.load_state_dict(load_file(sys.argv[1]))
prepare = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
with torch.inference_mode():
    logits = net.eval()(prepare(Image.open(sys.argv[2]).convert("RGB")).unsqueeze(0))[0]
print(logits.softmax(0).topk(5).indices.tolist())
"""


def first(args):
    commands = {
        "top5": [args.top5, "predict", args.photo, "--model", "resnet50", "--weights", args.model],
        "torch": [sys.executable, "-c", TORCH_FIRST, args.model, args.photo],
    }
    times = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            call(*command)
            times[name].append(1e3 * (time.perf_counter() - start))
    # The first round of each reads the files from the disk.
    peers = {name: {"ms": statistics.median(ms), "least": min(ms), "most": max(ms)} for name, ms in times.items()}
    result = {"date": datetime.datetime.now().isoformat(timespec="minutes"), "network": "resnet50", "batch": 1,
              "mode": "first", "commit": args.commit, "peers": peers, "failed": {}}
    store(args, ("resnet50", 1, "first"), result)
    print({name: round(peer["ms"]) for name, peer in peers.items()})


def table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def short(ms):
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


def compare(results, ours, peers):
    """A table in ms per run with the ratio of `ours` to the fastest of `peers`, and the ratios by (network, batch)."""
    present = [p for p in peers if any(p in r["peers"] for r in results)]
    rows, ratios = [], {}
    for r in results:
        if ours not in r["peers"]:
            continue
        mine = r["peers"][ours]
        others = {p: r["peers"][p]["ms"] for p in present if p in r["peers"]}
        if not others:
            continue
        best = min(others, key=others.get)
        cells = [(f"**{short(others[p])}**" if p == best else short(others[p])) if p in others else "–" for p in present]
        ratio = mine["ms"] / others[best]
        ratios[r["network"], r["batch"]] = ratio
        spread = f"{short(mine['ms'])} ({short(mine['least'])}–{short(mine['most'])})"
        peak = f"{2e-6 * mine['macs'] / mine['ms'] / mine['peak_gflops']:.0%}" if "macs" in mine else "–"
        rows.append([f"{r['network']}, {r['batch']}", spread, *cells, f"{ratio:.2f}", peak])
    text = table(["network, batch", ours, *present, "ratio", "of peak"], rows)
    return text + f"\nGeometric mean of the ratios: {geometric_mean(list(ratios.values())):.2f}\n"


def summary(results, ours, peers):
    """Geometric means of the ratios by batch, and the ten worst."""
    ratios = {}
    for r in results:
        others = [r["peers"][p]["ms"] for p in peers if p in r["peers"]]
        if ours in r["peers"] and others:
            ratios[r["network"], r["batch"]] = r["peers"][ours]["ms"] / min(others)
    rows = []
    for batch in sorted({batch for _, batch in ratios}):
        of = [ratio for (_, b), ratio in ratios.items() if b == batch]
        rows.append([str(batch), str(len(of)), f"{geometric_mean(of):.2f}", f"{max(of):.2f}", str(sum(x > 1 for x in of))])
    worst = sorted(ratios.items(), key=lambda case: -case[1])[:10]
    named = ", ".join(f"{network} at {batch} {ratio:.2f}" for (network, batch), ratio in worst)
    head = ["batch", "networks", "geometric mean", "worst", "above 1.0"]
    return table(head, rows) + f"\nThe worst ten: {named}.\n"


def memory(results):
    rows = []
    for r in results:
        peers = {p: f for p, f in r["peers"].items() if f.get("grown")}
        if "top5" in peers and len(peers) > 1:
            mib = lambda f, key: f"{f[key] / 2**20:.0f}"
            others = [f for p, f in peers.items() if p in TRAINING]
            best = min(others, key=lambda f: f["grown"])
            ours = peers["top5"]
            rows.append([
                f"{r['network']}, {r['batch']}", mib(ours, "planned"), mib(ours, "grown"),
                mib(best, "grown"), f"{ours['grown'] / best['grown']:.2f}", f"{ours['peak'] / best['peak']:.2f}",
            ])
    head = ["network, batch", "planned MiB", "top5 MiB", "least of torch MiB", "ratio", "ratio of whole processes"]
    return table(head, rows)


def report(args):
    results = json.loads(args.results.read_text())
    if args.networks:
        results.sort(key=lambda r: args.networks.index(r["network"]) if r["network"] in args.networks else 99)
    of = lambda mode: [r for r in results if r["mode"] == mode]
    inference, training = of("inference"), of("training")
    if len(inference) > 20:
        print("### Summary\n\nf32, beside the fastest peer:\n\n" + summary(inference, "top5", F32))
        print("bf16, beside the fastest peer's:\n\n" + summary(inference, "top5-bf16", BF16))
    if len(training) > 10:
        print("Training step, beside PyTorch's best f32 form:\n\n" + summary(training, "top5", TRAINING[:2]))
        print("Training step in bf16, beside autocast:\n\n" + summary(training, "top5-bf16", TRAINING[2:]))
    if inference:
        versions = {p: f["version"] for r in inference + training for p, f in r["peers"].items()}
        facts = inference[0]
        isa = facts["peers"].get("top5", {}).get("isa", "?")
        peaks = [r["peers"]["top5"]["peak_gflops"] for r in results if "peak_gflops" in r["peers"].get("top5", {})]
        print(f"{min(r['date'] for r in results)} to {max(r['date'] for r in results)}, {facts['cpu']}, "
              f"{facts['threads']} threads, {isa}, peak {min(peaks):.0f} to {max(peaks):.0f} GFLOP/s; commit "
              f"{', '.join(sorted({r['commit'] for r in results}))}; "
              + ", ".join(f"{p} {v}" for p, v in sorted(versions.items()) if p != "top5") + ".\n")
        print("### Inference, f32: ms per run\n\n" + compare(inference, "top5", F32))
        if any(p in r["peers"] for r in inference for p in RUST):
            print("### Rust peers, f32: ms per run\n\n" + compare(inference, "top5", RUST))
        variants = sorted({p for r in inference for p in r["peers"] if p.startswith("top5-")})
        for variant in variants:
            low = "bf16" in variant
            print(f"### Inference, {variant}: ms per run\n\n" + compare(inference, variant, BF16 if low else F32))
        if not any("bf16" in v for v in variants):
            print("### Inference, f32 beside bf16 of others: ms per run\n\n" + compare(inference, "top5", BF16))
    if any(p in r["peers"] for r in training for p in TRAINING):
        print("### Training step: ms\n\n" + compare(training, "top5", TRAINING[:2]))
        print("### Training step beside bf16 autocast: ms\n\n" + compare(training, "top5", TRAINING[2:]))
        for variant in sorted({p for r in training for p in r["peers"] if p.startswith("top5-")}):
            print(f"### Training step, {variant}, beside bf16 autocast: ms\n\n" + compare(training, variant, TRAINING[2:]))
        print("### Growth of the process by a training step\n\n" + memory(training))
    for r in of("first"):
        ours, theirs = r["peers"]["top5"], r["peers"]["torch"]
        print("### Time to the first prediction, ResNet-50, whole process\n\n" + table(
            ["", "ms"], [[name, f"{p['ms']:.0f} ({p['least']:.0f}–{p['most']:.0f})"] for name, p in r["peers"].items()]
        ) + f"\nRatio {ours['ms'] / theirs['ms']:.2f}\n")
    failures = {(p, why) for r in results for p, why in r["failed"].items()}
    for peer, why in sorted(failures):
        networks = [f"{r['network']} {r['batch']}" for r in results if r["failed"].get(peer) == why]
        print(f"- {peer} does not run {', '.join(networks)}: {why}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--top5", type=pathlib.Path, default=HERE / "../../target/release/top5")
    parser.add_argument("--work", type=pathlib.Path, default=HERE / "../../target/peers", help="exported models")
    parser.add_argument("--results", type=pathlib.Path, default=HERE / "../../target/peers/results.json")
    parser.add_argument("--commit", default=None)
    commands = parser.add_subparsers(required=True)
    for name, function in (("prepare", prepare), ("run", run), ("sweep", sweep), ("report", report)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        if name == "sweep":
            command.add_argument("patterns", nargs="*", help="names of networks, with * and ?")
        else:
            command.add_argument("networks", nargs="*" if name == "report" else "+")
        if name in ("run", "sweep"):
            command.add_argument("--batch", default="1", help="sizes, separated by commas")
            command.add_argument("--rounds", type=int, default=5)
            command.add_argument("--seconds", type=float, default=0.5)
            command.add_argument("--train", action="store_true")
            command.add_argument("--peers", nargs="*")
            command.add_argument("--variant", action="append", default=[], metavar="NAME=OPTIONS",
                                 help="top5 once more with other options, for example top5-avx2='--isa avx2'")
    command = commands.add_parser("first")
    command.set_defaults(function=first)
    command.add_argument("model")
    command.add_argument("photo")
    command.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    args.top5, args.work = args.top5.resolve(), args.work.resolve()
    if args.commit is None:
        args.commit = call("git", "-C", HERE, "rev-parse", "--short", "HEAD").strip()
    args.function(args)


if __name__ == "__main__":
    main()
