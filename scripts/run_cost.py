#!/usr/bin/env python3
"""What telling of a run costs it: pairs of equal runs, one silent, one with all that there is.

    python3 scripts/run_cost.py ./target/release/top5 [PAIRS] [-- more arguments of `top5 train`]

Both train on one thread. The silent run has `--quiet --progress plain`; the other draws its live view on a terminal of 100
columns, writes TensorBoard's files, and is watched over HTTP by two watchers, of which one reads nothing. The order within a
pair changes from pair to pair. Processor time is compared, which other programs on the machine disturb less than the clock;
the clock's time is printed, too. The last line has the median ratio of each.
"""
import os
import pathlib
import pty
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

DEFAULT = ["lenet", "--epochs", "10", "--batch-size", "32"]


def watch(port, reads):
    for _ in range(100):
        try:
            stream = socket.create_connection(("127.0.0.1", port), timeout=1)
            break
        except OSError:
            time.sleep(0.05)
    else:
        sys.exit("nobody listened")
    stream.settimeout(None)
    stream.sendall(b"GET /v1/run/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    if not reads:
        return stream
    while stream.recv(1 << 16):
        pass


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(top5, arguments, told):
    folder = pathlib.Path(tempfile.mkdtemp())
    line = [top5, "train", *arguments, "--threads", "1", "--out", str(folder / "run"), "--no-report"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    if told:
        port = free_port()
        line += ["--progress", "live", "--tensorboard", f"--watch=127.0.0.1:{port}"]
        main, terminal = pty.openpty()
        subprocess.run(["stty", "cols", "100", "rows", "30"], stdin=terminal, check=True)
        process = subprocess.Popen(line, stderr=terminal, stdout=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm"})
        os.close(terminal)
        drawn = []

        def drain():
            try:
                while piece := os.read(main, 1 << 16):
                    drawn.append(len(piece))
            except OSError:
                pass

        for job in (drain, lambda: watch(port, True)):
            threading.Thread(target=job, daemon=True).start()
        idle = watch(port, False)
        code = process.wait()
        idle.close()
        if sum(drawn) < 1000:
            sys.exit("nothing was drawn")
    else:
        code = subprocess.run([*line, "--quiet", "--progress", "plain"], stdout=subprocess.DEVNULL).returncode
    if code:
        sys.exit(f"exit status {code}")
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(folder)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main():
    given = sys.argv[1:]
    more = given[given.index("--") + 1 :] if "--" in given else DEFAULT
    own = given[: given.index("--")] if "--" in given else given
    pairs = int(own[1]) if len(own) > 1 else 7
    ratios = []
    for pair in range(pairs):
        times = {told: run(own[0], more, told) for told in ([False, True] if pair % 2 else [True, False])}
        ratios.append([t / s for t, s in zip(times[True], times[False])])
        print(f"processor {times[False][0]:.3f} s silent, {times[True][0]:.3f} s told; clock {times[False][1]:.3f}, {times[True][1]:.3f}")
    cpu, wall = (statistics.median(column) for column in zip(*ratios))
    print(f"median ratio told / silent: processor {cpu:.4f}, clock {wall:.4f}")


main()
