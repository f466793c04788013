"""One peer in a process of its own, told on stdin what to do: `python worker.py PEER MODEL BATCH`.

Each line of stdin is a number of seconds; the answer is a line of JSON with the milliseconds of every run. The first
answer, before any line is read, tells the logits of one run, the version, and the memory. Between lines the process
sleeps, so that peers can take turns.
"""

import json
import os
import pathlib
import resource
import sys
import time

import numpy as np

THREADS = int(os.environ.get("PEER_THREADS", os.cpu_count()))
FEWEST_RUNS = 3
WARM_UP = 3


def images(shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def input_shape(model, batch):
    import onnx

    [source] = onnx.load(model, load_external_data=False).graph.input
    return [batch] + [d.dim_value for d in source.type.tensor_type.shape.dim[1:]]


def torch_setup():
    import torch

    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    return torch


def torch_inference(model, batch, channels_last=False, compiled=False, bf16=False):
    torch = torch_setup()
    from onnx_torch import module

    net = module(model).eval()
    x = torch.from_numpy(images(input_shape(model, batch)))
    if channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if compiled:
        import torch._inductor.config

        torch._inductor.config.freezing = True
        net = torch.compile(net)

    def run():
        with torch.inference_mode() if not compiled else torch.no_grad():
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return net(x)

    return run, lambda: run().float().numpy(), torch.__version__


def torch_training(model, batch, channels_last=False, bf16=False):
    torch = torch_setup()
    from onnx_torch import module

    torch.set_grad_enabled(True)
    net = module(model).train()
    shape = input_shape(model, batch)
    x = torch.from_numpy(images(shape))
    if channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    with torch.no_grad():
        classes = net(x).shape[1]
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, classes, batch))

    def run():
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = net(x)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimiser.step()
        return loss

    return run, lambda: np.array([run().item()]), torch.__version__


def onnx_runtime(model, batch):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images(input_shape(model, batch))}
    run = lambda: session.run(None, feed)
    return run, lambda: run()[0], ort.__version__


def openvino(model, batch, precision):
    import openvino as ov

    core = ov.Core()
    net = core.read_model(model)
    net.reshape(input_shape(model, batch))
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": THREADS,
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(net, "CPU", config).create_infer_request()
    request.set_input_tensor(ov.Tensor(images(input_shape(model, batch))))
    return request.infer, lambda: np.array(list(request.infer().values())[0]), ov.__version__.split("-")[0]


def mnn(model, batch):
    import MNN

    path = str(pathlib.Path(model).with_suffix(".mnn"))
    x = images(input_shape(model, batch))
    net = MNN.Interpreter(path)
    session = net.createSession({"numThread": THREADS, "backend": "CPU", "precision": "high"})
    source = net.getSessionInput(session)
    net.resizeTensor(source, tuple(x.shape))
    net.resizeSession(session)
    given = MNN.Tensor(tuple(x.shape), MNN.Halide_Type_Float, x, MNN.Tensor_DimensionType_Caffe)
    source.copyFrom(given)
    run = lambda: net.runSession(session)

    def logits():
        source.copyFrom(given)
        run()
        output = net.getSessionOutput(session)
        shape = output.getShape()
        host = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32), MNN.Tensor_DimensionType_Caffe)
        output.copyToHostTensor(host)
        return np.array(host.getData(), np.float32).reshape(batch, -1)

    return run, logits, MNN.version()


def ncnn(model, batch):
    import ncnn

    path = pathlib.Path(model)
    net = ncnn.Net()
    net.opt.num_threads = THREADS
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    assert net.load_param(str(path.with_suffix(".ncnn.param"))) == 0
    assert net.load_model(str(path.with_suffix(".ncnn.bin"))) == 0
    samples = [ncnn.Mat(x).clone() for x in images(input_shape(model, batch))]

    def forward(sample):
        extractor = net.create_extractor()
        extractor.input("in0", sample)
        code, out = extractor.extract("out0")
        assert code == 0
        return out

    # ncnn has no batches: one image after the other.
    run = lambda: [forward(sample) for sample in samples]
    return run, lambda: np.stack([np.array(out).ravel() for out in run()]), ncnn.__version__


def rust(peer, model, batch):
    """The rest of this process is rust/'s program, which speaks the same protocol."""
    shape = input_shape(model, batch)
    given = f"{model}.{peer}.images"
    images(shape).tofile(given)
    threads = {name: str(THREADS) for name in ("PEER_THREADS", "RAYON_NUM_THREADS", "RTEN_NUM_THREADS")}
    program = str(pathlib.Path(__file__).parent / "../../target/rust-peers/release/rust-peers")
    os.execve(program, [program, peer, model, given, ",".join(map(str, shape))], {**os.environ, **threads})


RUST = ["burn", "candle", "tract", "rten"]
PEERS = {
    "torch": lambda m, b: torch_inference(m, b),
    "torch-channels-last": lambda m, b: torch_inference(m, b, channels_last=True),
    "torch-compile": lambda m, b: torch_inference(m, b, channels_last=True, compiled=True),
    "torch-bf16": lambda m, b: torch_inference(m, b, channels_last=True, bf16=True),
    "torch-train": lambda m, b: torch_training(m, b),
    "torch-train-channels-last": lambda m, b: torch_training(m, b, channels_last=True),
    "torch-train-bf16": lambda m, b: torch_training(m, b, channels_last=True, bf16=True),
    "onnxruntime": onnx_runtime,
    "openvino": lambda m, b: openvino(m, b, "f32"),
    "openvino-bf16": lambda m, b: openvino(m, b, "bf16"),
    "ncnn": ncnn,
    "mnn": mnn,
}


def memory():
    """Bytes of the process: (now, at its largest)."""
    fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return [int(fields[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM")]


def main():
    peer, model, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if peer in RUST:
        rust(peer, model, batch)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr

    def answer(value):
        print(json.dumps(value), file=answers, flush=True)

    if peer.startswith("torch"):
        import onnx_torch  # noqa: F401, its libraries belong to the memory before
    before = memory()[0]
    run, logits, version = PEERS[peer](model, batch)
    first = logits()
    for _ in range(WARM_UP):
        run()
    answer({
        "version": version,
        "logits": first.reshape(-1).tolist(),
        "before": before,
        "peak": memory()[1],
    })
    for line in sys.stdin:
        budget = float(line)
        times = []
        begin = time.perf_counter()
        while len(times) < FEWEST_RUNS or time.perf_counter() - begin < budget:
            start = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - start))
        answer(times)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
