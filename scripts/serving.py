"""Asks a server that runs (`top5 serve`) with clients that others wrote: tritonclient and schemathesis.

    python3 -m venv v && v/bin/pip install 'tritonclient[http]' schemathesis
    v/bin/python scripts/serving.py http://127.0.0.1:8000 [cases]

The server must have the embedded LeNet as `lenet-digits`. Schemathesis makes so many cases for each of the operations, 160 by
default, which are over 5,000 in all; that takes a quarter of an hour. The last line is what passed; the exit status is 0 if all did.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import tritonclient.http as triton

MODEL = "lenet-digits"
PICTURE = b"P5 28 28 255\n" + bytes(255 if 12 < x < 16 and 4 < y < 24 else 0 for y in range(28) for x in range(28))


def inputs(values, binary):
    made = triton.InferInput("input", values.shape, "FP32")
    made.set_data_from_numpy(values, binary_data=binary)
    return [made]


def logits(client, values, binary_in, binary_out):
    wanted = [triton.InferRequestedOutput("logits", binary_data=binary_out)]
    return client.infer(MODEL, inputs(values, binary_in), outputs=wanted, request_id="7").as_numpy("logits")


def check(client, address):
    """Yields the name of each check that passed; the first that does not raises."""
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL)
    yield "health"
    assert client.get_server_metadata()["name"] == "top5"
    card = client.get_model_metadata(MODEL, "1")
    assert card["inputs"][0]["shape"] == [-1, 1, 28, 28], card
    assert MODEL in [model["name"] for model in client.get_model_repository_index()]
    yield "metadata"
    values = np.random.default_rng(1).normal(size=(3, 1, 28, 28)).astype(np.float32)
    first = logits(client, values, False, False)
    for form in [(True, False), (False, True), (True, True)]:
        assert np.array_equal(first, logits(client, values, *form)), form
    assert first.shape == (3, 10)
    yield "JSON and binary, both ways"
    image = triton.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([PICTURE], dtype=np.object_))
    for binary in [True, False]:
        wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=20)]
        classes = client.infer(MODEL, [image], outputs=wanted).as_numpy("probabilities")
        assert classes.shape == (1, 10), classes
        value, index, *_ = classes[0][0].decode().split(":") if binary else classes[0][0].split(":")
        assert (index, len(value.split(".")[1])) == ("1", 6), classes
    yield "classification of an image file"
    # The client writes no raw requests, but reads the answers to them.
    request = Request(f"{address}/v2/models/{MODEL}/infer", PICTURE, {"Inference-Header-Content-Length": "0"})
    with urlopen(request) as answer:
        length = int(answer.headers["Inference-Header-Content-Length"])
        raw = triton.InferenceServerClient.parse_response_body(answer.read(), header_length=length)
    assert raw.as_numpy("logits").shape == (1, 10) and raw.as_numpy("probabilities").argmax() == 1, raw.get_response()
    yield "the raw form"
    for name, shape in [("none", (1, 1, 28, 28)), (MODEL, (1, 28, 28)), (MODEL, (1000, 1, 28, 28))]:
        try:
            client.infer(name, inputs(np.zeros(shape, np.float32), True))
        except triton.InferenceServerException as error:
            assert error.status() in ["400", "404"] and error.message(), error
        else:
            raise AssertionError(f"{name} {shape} was answered")
    yield "errors"


def main():
    address = sys.argv[1].rstrip("/")
    cases = sys.argv[2] if len(sys.argv) > 2 else "160"
    client = triton.InferenceServerClient(address.removeprefix("http://"))
    passed = [*check(client, address)]
    print("\n".join(passed))
    st = Path(sys.executable).with_name("schemathesis")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [st, "run", address + "/openapi.json", "--url", address, "--max-examples", cases, "--checks", checks]
    # It keeps what it found in the folder that it runs in.
    with tempfile.TemporaryDirectory() as folder:
        rc = subprocess.run(command, check=False, cwd=folder).returncode
    print(f"tritonclient: {len(passed)} groups passed; schemathesis: {'passed' if rc == 0 else 'failed'}")
    return rc


if __name__ == "__main__":
    sys.exit(main())
