"""Faults and load that a running `top5 serve` must hold, in their long forms, with the standard library alone.

    python3 scripts/serving_long.py http://127.0.0.1:8000 --pid PID [--seconds 60] [--soak 1800] [--only NAME]

The server must have the embedded LeNet as `lenet-digits`, and its default limits. PID is the server's, whose memory, threads and
files are read from /proc. One line per form; the exit status is 0 if all held. The letters are those of the project's list of
reliability tests.
"""

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path

PREDICT = "/v1/predict/lenet-digits"
PICTURE = b"P5 28 28 255\n" + bytes(255 if 12 < x < 16 and 4 < y < 24 else 0 for y in range(28) for x in range(28))
MIB = 1 << 20


class Asked:
    """A server that is asked, and what it takes."""

    def __init__(self, address, pid):
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        self.host, self.port, self.pid = host, int(port), pid

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
    return "closed after " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in longest.items())


async def load(server, options):
    """D4: closed loops of 1, 8, 64 and 256 clients: only 200, and 503 with Retry-After."""
    told = []
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
    memory, counted = [], 0
    while time.monotonic() < until:
        got = await asyncio.gather(*(server.send(source.choice(requests)) for _ in range(16)))
        assert all(status in (200, 400, 404, 503) for status, _ in got), got
        counted += len(got)
        memory.append(server.memory())
    # The first tenth fills caches.
    settled = memory[len(memory) // 10 :]
    drift = max(settled) / min(settled) - 1
    assert drift <= 0.05 or max(settled) - min(settled) < 4 * MIB, f"memory moved by {100 * drift:.1f} %"
    return f"{counted} requests in {options.soak} s, {settled[-1] / MIB:.1f} MiB, moved by {100 * drift:.1f} %, {server.files()} files"


FORMS = [bodies, crumbs, slow, load, leavers, paths, explanations, series, soak]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--soak", type=float, default=1800)
    parser.add_argument("--only", choices=[form.__name__ for form in FORMS])
    options = parser.parse_args()
    server, held = Asked(options.address, options.pid), True
    print(time.strftime("%Y-%m-%d"), options.address)
    for form in FORMS:
        if options.only not in (None, form.__name__):
            continue
        name = form.__doc__.split(":")[0]
        try:
            print(f"{name} {form.__name__}: {asyncio.run(form(server, options))}", flush=True)
        except (AssertionError, OSError, asyncio.TimeoutError) as error:
            print(f"{name} {form.__name__}: FAILED: {error!r}", flush=True)
            held = False
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
