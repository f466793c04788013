"""Faults and load that `top5 serve` must hold, in their long forms, with the standard library alone; Linux.

    python3 scripts/serving_long.py target/release/top5 [--seconds 60] [--soak 1800] [--only NAME]

It starts the program with the embedded LeNet on a free port, and reads its memory and files from /proc. With strace it also looks at
what the server asks of the system. One line per form; the exit status is 0 if all held. The letters are those of the project's list
of reliability tests; what it lacks of them is in scripts/serving.py (other people's clients) and in the tests of top5-serve.
"""

import argparse
import asyncio
import json
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

PREDICT = "/v1/predict/lenet-digits"
PICTURE = b"P5 28 28 255\n" + bytes(255 if 12 < x < 16 and 4 < y < 24 else 0 for y in range(28) for x in range(28))
MIB = 1 << 20


class Asked:
    """A server that is asked, and what it takes."""

    def __init__(self, program, port=0, most_files=None):
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))) if most_files else None
        line = [program, "serve", "--port", str(port)]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, preexec_fn=limit)
        self.host, port = self.process.stdout.readline().split()[0].removeprefix("http://").split(":")
        self.port, self.pid = int(port), self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    async def connect(self):
        return await asyncio.open_connection(self.host, self.port)

    async def send(self, request, wait=30.0):
        """The status and the body of the answer; None where the connection was closed without one."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            await writer.drain()
            return await asyncio.wait_for(answer(reader), wait)
        except (ConnectionError, asyncio.IncompleteReadError):
            return None, b""
        finally:
            writer.close()

    def memory(self):
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) << 10

    def files(self):
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


def request(path, body=b"", method="POST", headers=""):
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


async def answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return int(head.split(b" ")[1]), await reader.readexactly(length)


async def bodies(server, _):
    """D1: bodies at the limit and beyond, told, chunked, lying and compressed."""
    limit = 10 * MIB
    before = server.memory()
    chunked = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    wanted = [
        (request(PREDICT), 400),
        (request(PREDICT, bytes(limit)), 400),
        (request(PREDICT, bytes(limit + 1)), 413),
        (chunked + chunk * 161 + b"0\r\n\r\n", 413),
        (request(PREDICT, b"x", headers="Content-Encoding: gzip\r\n"), 415),
    ]
    for sent, status in wanted:
        got, _ = await server.send(sent)
        assert got == status, f"{got} where {status} was expected"
    grown = (server.memory() - before) / MIB
    assert grown < 2 * limit / MIB, f"{grown:.0f} MiB more"
    return f"statuses as expected, {grown:.1f} MiB more than before"


async def crumbs(server, _):
    """D2: a body of 300 kB in pieces of one and six bytes on eight connections."""
    before = server.memory()

    async def drip(size):
        reader, writer = await server.connect()
        body = PICTURE + bytes(300_000)
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        for at in range(0, len(body), size):
            part = body[at : at + size]
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            if at % 4096 < size:
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        got, _ = await answer(reader)
        writer.close()
        return got

    got = await asyncio.gather(*(drip(size) for size in [1, 6] * 4), return_exceptions=True)
    grown = (server.memory() - before) / MIB
    assert all(one in (200, 400, 408) or isinstance(one, (ConnectionError, asyncio.IncompleteReadError)) for one in got), got
    assert grown < 32, f"{grown:.0f} MiB more"
    return f"{grown:.1f} MiB more than before"


async def slow(server, _):
    """D3: 500 connections each that say nothing, drip headers, drip a body, or do not read."""
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n".encode()
    starts = {"silent": (b"", b""), "headers": (b"GET / HTTP/1.1\r\nX: ", b"x"), "body": (head, b"x")}

    async def one(begin, more):
        reader, writer = await server.connect()
        started = time.monotonic()
        writer.write(begin)
        while time.monotonic() - started < 15:
            try:
                if more:
                    writer.write(more)
                    await writer.drain()
                if await asyncio.wait_for(reader.read(4096), 1) == b"":
                    break
            except asyncio.TimeoutError:
                continue
            except (ConnectionError, RuntimeError):
                break
        writer.close()
        return time.monotonic() - started

    longest = {}
    for name, (begin, more) in starts.items():
        slow_ones = [asyncio.create_task(one(begin, more)) for _ in range(500)]
        await asyncio.sleep(1)
        healthy = [await server.send(request(PREDICT, PICTURE)) for _ in range(20)]
        assert all(status == 200 for status, _ in healthy), [status for status, _ in healthy]
        longest[name] = max(await asyncio.gather(*slow_ones))
        assert longest[name] < 12.5, f"{name}: open for {longest[name]:.1f} s"
    longest["reading"] = await unread(server)
    return "closed after " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in longest.items())


async def unread(server):
    """How long a client that asks and asks and reads nothing keeps its connection."""
    reader, writer = await asyncio.open_connection(server.host, server.port, limit=1 << 10)
    writer.transport.pause_reading()
    started = time.monotonic()
    try:
        while time.monotonic() - started < 20:
            writer.write(request("/v1/zoo", method="GET") * 100)
            await asyncio.wait_for(writer.drain(), 20 - (time.monotonic() - started))
    except (ConnectionError, asyncio.TimeoutError):
        pass
    taken = time.monotonic() - started
    writer.close()
    assert taken < 14, f"reading nothing: open for {taken:.1f} s"
    return taken


async def load(server, options):
    """D4: closed loops of 1, 8, 64 and 256 clients: only 200, and 503 with Retry-After."""
    told = [f"overhead p50 {await overhead(server):.2f} ms"]
    for clients in [1, 8, 64, 256]:
        times, statuses = [], {}
        until = time.monotonic() + options.seconds

        async def loop():
            reader, writer = await server.connect()
            while time.monotonic() < until:
                begun = time.monotonic()
                writer.write(request(PREDICT, PICTURE))
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
                await reader.readexactly(length)
                status = int(head.split(b" ")[1])
                statuses[status] = statuses.get(status, 0) + 1
                assert status != 503 or b"retry-after" in head.lower(), head
                times.append(time.monotonic() - begun)
            writer.close()

        await asyncio.gather(*(loop() for _ in range(clients)))
        assert set(statuses) <= {200, 503}, statuses
        times.sort()
        p50, p99 = (1e3 * times[int(share * (len(times) - 1))] for share in (0.5, 0.99))
        told.append(f"{clients} clients: {len(times) / options.seconds:.0f}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {statuses}")
    return "; ".join(told)


async def overhead(server):
    """What one client waits beyond decoding and the forward pass: the median of 500 requests on one connection."""
    reader, writer = await server.connect()
    beyond = []
    for _ in range(500):
        begun = time.monotonic()
        writer.write(request(PREDICT, PICTURE))
        _, body = await answer(reader)
        waited = 1e3 * (time.monotonic() - begun)
        told = json.loads(body)["milliseconds"]
        beyond.append(waited - told["decode"] - told["forward"])
    writer.close()
    return sorted(beyond)[len(beyond) // 2]


async def leavers(server, _):
    """D5: 1,000 clients leave while they wait."""
    before = server.files()
    for _ in range(10):
        writers = []
        for _ in range(100):
            _, writer = await server.connect()
            writer.write(request(PREDICT, PICTURE))
            writers.append(writer)
        for writer in writers:
            writer.close()
    await asyncio.sleep(2)
    status, _ = await server.send(request(PREDICT, PICTURE))
    assert status == 200, status
    assert server.files() <= before + 4, f"{server.files()} files where {before} were"
    return f"{server.files()} files open, {before} before"


async def paths(server, _):
    """D6: games with paths, methods and headers."""
    for path in ["/%2e%2e%2fetc", "/..;/x", "/a%00b", "/" + "a" * 10_000, "/ü"]:
        status, body = await server.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert status in (400, 404, 414), f"{path[:20]}: {status}"
        assert b"/etc" not in body and b"rust" not in body.lower(), body
    for method in ["DELETE", "PUT", "PATCH", "OPTIONS", "TRACE"]:
        status, _ = await server.send(request("/v1/models", method=method))
        assert status == 405, f"{method}: {status}"
    flood = "".join(f"X-{at}: y\r\n" for at in range(200))
    status, _ = await server.send(request("/ping", method="GET", headers=flood))
    assert status == 431, status
    status, _ = await server.send(f"GET /{'a' * (65 << 10)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert status in (414, 431), status
    return "refused, and nothing told of the machine"


async def explanations(server, options):
    """D12: explanations without a pause, beside predictions."""
    quiet = await percentile(server, options.seconds / 4)
    stop = False

    async def explain():
        statuses = set()
        while not stop:
            status, _ = await server.send(request("/v1/explain/lenet-digits?method=rise&masks=1000", PICTURE))
            statuses.add(status)
            if status == 503:
                await asyncio.sleep(1)  # as Retry-After says
        return statuses

    tasks = [asyncio.create_task(explain()) for _ in range(16)]
    busy = await percentile(server, options.seconds / 4)
    stop = True
    statuses = set().union(*await asyncio.gather(*tasks))
    assert statuses <= {200, 503}, statuses
    return f"p99 of predictions {quiet:.1f} ms alone, {busy:.1f} ms beside them"


async def percentile(server, seconds):
    times, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.monotonic()
        status, _ = await server.send(request(PREDICT, PICTURE))
        assert status == 200, status
        times.append(1e3 * (time.monotonic() - begun))
    return sorted(times)[int(0.99 * (len(times) - 1))]


async def series(server, _):
    """D13: 10,000 random paths make no new series."""
    async def lines():
        _, text = await server.send(request("/metrics", method="GET"))
        return text.count(b"\n")

    before, source = await lines(), random.Random(1)
    for _ in range(100):
        sent = [request(f"/v1/predict/{source.getrandbits(64):x}", PICTURE) for _ in range(100)]
        await asyncio.gather(*(server.send(one) for one in sent))
    assert await lines() == before
    return f"{before} lines before and after"


async def soak(server, options):
    """D16: everything mixed."""
    source, until = random.Random(2), time.monotonic() + options.soak
    requests = [
        request(PREDICT, PICTURE), request(PREDICT, PICTURE[:100]), request("/v1/models", method="GET"),
        request("/v1/explain/lenet-digits?method=gradient", PICTURE), request("/v1/predict/none", PICTURE),
        request("/v1/activations/lenet-digits?layer=conv1", PICTURE), request("/metrics", method="GET"),
    ]
    memory, files, times, counted = [], [], [], 0
    while time.monotonic() < until:
        begun = time.monotonic()
        got = await asyncio.gather(*(server.send(source.choice(requests)) for _ in range(16)))
        times.append(1e3 * (time.monotonic() - begun))
        files.append(server.files())
        await asyncio.sleep(options.rest)
        assert all(status in (200, 400, 404, 503) for status, _ in got), got
        counted += len(got)
        memory.append(server.memory())
    # The first tenth fills caches.
    settled = memory[len(memory) // 10 :]
    drift = max(settled) / min(settled) - 1
    assert drift <= 0.05 or max(settled) - min(settled) < 4 * MIB, f"memory moved by {100 * drift:.1f} %"
    assert max(files) <= files[0] + 32, f"{max(files)} files where {files[0]} were"
    tenth = len(times) // 10
    first, last = (sorted(part)[int(0.99 * (tenth - 1))] for part in (times[tenth : 2 * tenth], times[-tenth:]))
    return (f"{counted} requests in {options.soak} s, {settled[-1] / MIB:.1f} MiB, moved by {100 * drift:.1f} %, "
            f"{server.files()} files, p99 of 16 at once {first:.1f} ms in the second tenth, {last:.1f} ms in the last")


async def numbers(server, _):
    """D9: JSON that is deep, long or lies."""
    infer = "/v2/models/lenet-digits/infer"
    tensor = {"name": "input", "shape": [1, 1, 28, 28], "datatype": "FP32"}
    given = lambda **more: json.dumps({"inputs": [{**tensor, **more}]}).encode()
    zeros = [0.0] * 784
    bad = [
        b"[" * 100_000, b'{"inputs":' * 100_000, given(data=[0.0] * 1_000_000), given(data=zeros).replace(b"0.0,", b"NaN,", 1),
        given(data=zeros).replace(b"0.0,", b"1e400,", 1), given(shape=[1 << 32, 1 << 32], data=[]), given(shape=[-1], data=[1]),
        given(shape=[1 << 63], data=[]), given(datatype="FP64", data=zeros), given(data=zeros[1:]), given(data="x"), b"", b"\xff" * 1000,
    ]
    lies = [("10", {"binary_data_size": 3136}), ("999999", {"binary_data_size": 3136}), ("-1", {}), (None, {"binary_data_size": 1 << 62})]
    before, slowest = server.memory(), 0.0
    sent = [request(infer, body) for body in bad]
    for length, parameters in lies:
        body = given(parameters=parameters)
        sent.append(request(infer, body + bytes(64), headers=f"Inference-Header-Content-Length: {length or len(body)}\r\n"))
    for one in sent:
        begun = time.monotonic()
        status, body = await server.send(one)
        slowest = max(slowest, time.monotonic() - begun)
        assert status == 400, f"{status} for {one[-80:]}: {body[:200]}"
    grown = (server.memory() - before) / MIB
    assert grown < 64, f"{grown:.0f} MiB more"
    return f"{len(sent)} refused, the slowest in {1e3 * slowest:.0f} ms, {grown:.1f} MiB more"


async def bombs(server, _):
    """A3 over HTTP: images that claim much, and images of one pixel and one line."""
    def png(width, height):
        chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        rows = zlib.compress(bytes(1 << 20), 9)
        head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    pgm = lambda width, height: f"P5 {width} {height} 255\n".encode() + bytes(width * height)
    before = server.memory()
    wanted = [(png(side, side), 400) for side in (50_000, 65_535, (1 << 31) - 1)]
    wanted += [(b"P5 99999 99999 255\n", 400), (b"P5 18446744073709551615 2 255\n", 400), (PICTURE[:200], 400)]
    wanted += [(pgm(*size), 200) for size in ((1, 1), (1, 5000), (5000, 1), (5000, 5000))]
    for body, status in wanted * 3:
        got, said = await server.send(request(PREDICT, body) if len(body) < 10 * MIB else request(PREDICT, body[: 10 * MIB]))
        expected = status if len(body) < 10 * MIB else 400
        assert got == expected, f"{got} for {body[:40]}: {said[:200]}"
    grown = (server.memory() - before) / MIB
    assert grown < 128, f"{grown:.0f} MiB more"
    return f"{len(wanted)} as expected, {grown:.1f} MiB more"


async def ends(server, options):
    """D11: SIGTERM with 64 requests in flight, a port in use, a restart at once, 64 files."""
    with Asked(options.program) as other:
        asked = [asyncio.create_task(other.send(request(PREDICT, PICTURE))) for _ in range(64)]
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        other.process.send_signal(signal.SIGTERM)
        statuses = [status for status, _ in await asyncio.gather(*asked)]
        rc = await asyncio.to_thread(other.process.wait, 12)
        took = time.monotonic() - begun
        assert set(statuses) <= {200, 503} and rc == 0, (statuses, rc)
    taken = subprocess.run([options.program, "serve", "--port", str(server.port)], capture_output=True, text=True, check=False)
    assert taken.returncode == 4 and "in use" in taken.stderr, taken
    with Asked(options.program) as killed:
        pass
    with Asked(options.program, killed.port) as again:
        status, _ = await again.send(request("/ping", method="GET"))
        assert status == 200, status
    with Asked(options.program, most_files=64) as few:
        held = [await few.connect() for _ in range(200)]
        before = processor(few.pid)
        await asyncio.sleep(2)
        busy = processor(few.pid) - before
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.5)
        status, _ = await few.send(request(PREDICT, PICTURE))
        assert status == 200 and busy < 0.5, (status, busy)
    counts = {status: statuses.count(status) for status in set(statuses)}
    return f"{counts} and status {rc} in {took:.1f} s; port in use: status 4; 200 clients at 64 files: {busy:.2f} s of processor in 2 s"


def processor(pid):
    """Seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def strangers(server, _):
    """D14: other hosts and origins are refused, and every answer carries the headers that keep browsers safe."""
    for headers, status in [
        ("Host: evil.example", 421), ("Host: localhost.evil.example", 421), ("Host: [::1].evil.example", 421), ("Host: localhost\r\nHost: localhost", 400),
        ("Host: localhost\r\nOrigin: http://evil.example", 403), ("Host: localhost\r\nSec-Fetch-Site: cross-site", 403), ("X: y", 400),
    ]:
        head = f"POST {PREDICT} HTTP/1.1\r\n{headers}\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
        got, _ = await server.send(head.encode() + PICTURE)
        assert got == status, f"{got} for {headers!r}"
    for path in ["/", "/v1/models", "/none", "/metrics"]:
        reader, writer = await server.connect()
        writer.write(request(path, method="GET"))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        writer.close()
        for name in [b"content-security-policy: default-src 'none'", b"nosniff", b"cross-origin-opener-policy: same-origin"]:
            assert name in head, (path, name)
        assert b"access-control" not in head, head
    return "refused; headers are there"


async def calls(server, _):
    """D15: a thousand predictions write no file and open no connection."""
    before = storage(server.pid)
    told = "strace is not here"
    with tempfile.NamedTemporaryFile("r") as log:
        tracer = None
        if shutil.which("strace"):
            tracer = subprocess.Popen(
                ["strace", "-f", "-q", "-p", str(server.pid), "-o", log.name, "-e", "trace=%file,openat,creat,connect,socket,ftruncate,accept4"],
                stderr=subprocess.DEVNULL)
            await asyncio.sleep(1)
        for _ in range(10):
            got = await asyncio.gather(*(server.send(request(PREDICT, PICTURE)) for _ in range(100)))
            assert all(status == 200 for status, _ in got), got
        if tracer:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
            lines = log.read().splitlines()
            bad = [line for line in lines if re.search(r"connect\(|socket\(|creat\(|O_WRONLY|O_RDWR|O_CREAT|unlink|rename|mkdir", line)]
            assert not bad, bad[:5]
            accepted = sum("accept4(" in line for line in lines)
            assert accepted >= 1000, f"strace saw {accepted} connections"
            told = f"{accepted} connections accepted, {len(lines) - accepted} other calls about files and sockets, none of which writes or connects"
    assert storage(server.pid) == before, "bytes were written"
    return told


def storage(pid):
    """Bytes that a process has written to files."""
    lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


FORMS = [bodies, crumbs, slow, load, leavers, paths, numbers, bombs, ends, explanations, series, strangers, calls, soak]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda name: str(Path(name).resolve()))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--soak", type=float, default=1800)
    parser.add_argument("--rest", type=float, default=0, help="seconds between rounds of the soak, on a machine with other work")
    parser.add_argument("--only", choices=[form.__name__ for form in FORMS])
    options = parser.parse_args()
    held = True
    print(time.strftime("%Y-%m-%d"), options.program, flush=True)
    with Asked(options.program) as server:
        for form in FORMS:
            if options.only not in (None, form.__name__):
                continue
            name = form.__doc__.split(":")[0]
            try:
                print(f"{name} {form.__name__}: {asyncio.run(form(server, options))}", flush=True)
            except (AssertionError, OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
                print(f"{name} {form.__name__}: FAILED: {error!r}", flush=True)
                held = False
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
