"""`top5 serve` beside FastAPI with PyTorch: ResNet-18 with the same weights, the same photograph-like JPEG file, the same clients.

    cargo build --release
    python3 -m venv v && v/bin/pip install torch torchvision fastapi uvicorn
    v/bin/python scripts/serving_beside_pytorch.py target/release/top5 [--clients 8] [--seconds 20] [--rounds 3]

FastAPI's server is as people write it: a handler on a thread that decodes with Pillow, resizes, crops, normalises and runs the network
in inference mode. It is measured with PyTorch's own threads in each pass, and with one thread per pass and passes side by side. Both
servers and the clients share the machine's cores. Rounds take turns; medians are told. Beyond that it tells the rate of `top5 serve` at
64 clients as a share of what `top5 bench` runs in batches of 8.
"""

import argparse
import asyncio
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import models, transforms

from serving_long import answer, request

PATH = "/v1/predict/resnet18"


def photograph():
    """A JPEG file of 500×375 pixels with edges, gradients and some noise."""
    source = np.random.default_rng(1)
    rows, columns = np.mgrid[0:375, 0:500]
    waves = [np.sin(rows / a + columns / b) for a, b in ((31, 47), (90, 21), (17, 200))]
    pixels = 128 + 90 * np.stack(waves, -1) + source.normal(scale=8, size=(375, 500, 3))
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def fastapi(weights, port, threads):
    """Runs their server; does not return."""
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool

    torch.set_num_threads(threads)
    network = models.resnet18()
    network.load_state_dict(torch.load(weights))
    network.eval()
    normal = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    prepare = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), normal])
    app = FastAPI()

    def classify(file):
        image = prepare(Image.open(io.BytesIO(file)).convert("RGB"))
        with torch.inference_mode():
            best = network(image[None])[0].softmax(0).topk(5)
        return [{"label": int(label), "probability": float(value)} for value, label in zip(best.values, best.indices)]

    @app.post(PATH)
    async def predict(request: Request):
        return {"predictions": await run_in_threadpool(classify, await request.body())}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def measure(port, file, clients, seconds):
    """Requests per second and the times of all, after two seconds that do not count."""
    times, since = [], time.monotonic() + 2
    until = since + seconds

    async def loop():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.monotonic()) < until:
            writer.write(request(PATH, file))
            status, _ = await answer(reader)
            assert status == 200, status
            if begun >= since:
                times.append(1e3 * (time.monotonic() - begun))
        writer.close()

    await asyncio.gather(*(loop() for _ in range(clients)))
    return len(times) / seconds, times


async def first(port, file):
    """The answer, as soon as there is a server."""
    for _ in range(600):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.write(request(PATH, file))
        status, body = await answer(reader)
        writer.close()
        assert status == 200, body
        return json.loads(body)["predictions"]
    raise AssertionError(f"nobody answers at {port}")


def middle(values, share):
    return sorted(values)[int(share * (len(values) - 1))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    program, file, cores = str(Path(options.program).resolve()), photograph(), len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as made:
        weights, folder = f"{made}/resnet18.pth", f"{made}/resnet18"
        torch.manual_seed(1)
        torch.save(models.resnet18().state_dict(), weights)
        subprocess.run([program, "convert", "resnet18", folder, "--weights", weights, "-q"], check=True, stdout=subprocess.DEVNULL)
        names = ["top5 serve", f"FastAPI, {cores} threads a pass", "FastAPI, 1 thread a pass"]
        ports = {name: free_port() for name in names}
        lines = [[program, "serve", "--port", str(ports[names[0]]), "--no-explain", f"resnet18={folder}"]]
        lines += [[sys.executable, __file__, "--fastapi", weights, str(ports[name]), str(n)] for name, n in zip(names[1:], (cores, 1))]
        servers = [subprocess.Popen(line, stdout=subprocess.DEVNULL) for line in lines]
        try:
            compare(names, ports, file, options)
            rate = median_rate(ports[names[0]], file, 64, options)
            said = subprocess.run([program, "bench", "resnet18", "--batch", "8", "--json"], check=True, capture_output=True, text=True)
            bench = json.loads(said.stdout)
            print(f"top5 serve at 64 clients: {rate:.1f}/s; top5 bench in batches of 8: {images_per_second(bench):.1f}/s, {rate / images_per_second(bench):.2f} of it")
        finally:
            for server in servers:
                server.terminate()


def compare(names, ports, file, options):
    answers = {name: asyncio.run(first(ports[name], file)) for name in names}
    ours, *theirs = ([(one["label"], one["probability"]) for one in answers[name]] for name in names)
    for other in theirs:
        assert [label for label, _ in ours] == [label for label, _ in other], (ours, other)
        assert all(abs(a - b) < 1e-4 for (_, a), (_, b) in zip(ours, other)), (ours, other)
    rounds = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            rounds[name].append(asyncio.run(measure(ports[name], file, options.clients, options.seconds)))
    print(f"{time.strftime('%Y-%m-%d')}, {options.clients} clients, {options.rounds} rounds of {options.seconds:g} s, a JPEG file of {len(file)} bytes")
    for name in names:
        rate = statistics.median(rate for rate, _ in rounds[name])
        p50, p99 = (statistics.median(middle(times, share) for _, times in rounds[name]) for share in (0.5, 0.99))
        print(f"{name}: {rate:.1f} requests/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)


def median_rate(port, file, clients, options):
    return statistics.median(asyncio.run(measure(port, file, clients, options.seconds))[0] for _ in range(options.rounds))


def images_per_second(bench):
    """From the JSON document of `top5 bench`."""
    return 1e3 / bench["results"][0]["ms_per_image"]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fastapi"]:
        fastapi(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
