"""Faults that a run of `top5 train` must survive, in their long forms, with the standard library alone; Linux.

    python3 scripts/training_long.py target/release/top5 [--only NAME] [--mpi PROGRAM] [--soak 1800]

It trains LeNet on the embedded digits, a checkpoint at every step, and disturbs it: the weights at the end must have the SHA-256 of a
run that was never disturbed. `--mpi` names a program built with the feature `mpi`, which is then killed under `mpirun -n 2`, too.
One line per form; the exit status is 0 if all held. The letters are those of the project's list of reliability tests; what it lacks of
them is in the tests of top5-cli.
"""

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHORT = ["lenet", "--epochs", "2", "--batch-size", "128", "--checkpoint-steps", "1"]
KILLS = 200
SIGNALS = 50
FLIPS, CUTS = 1000, 200
MIB = 1 << 20


class Trainer:
    """The program, in a folder of its own."""

    def __init__(self, line, place):
        self.line, self.place = line, place

    def begin(self, out, *arguments, before=(), **options):
        line = [*before, *self.line, "train", *arguments, "--out", str(out), "--json"]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, cwd=self.place, stdout=pipe, stderr=pipe, text=True, **options)

    def run(self, out, *arguments, **options):
        """Exit code, the document on stdout, and stderr."""
        process = self.begin(out, *arguments, **options)
        said, errors = process.communicate()
        return process.returncode, json.loads(said) if process.returncode == 0 else None, errors

    def end(self, out, *arguments):
        """The hash of the weights of a run that must finish."""
        code, document, errors = self.run(out, *arguments)
        if code != 0:
            raise SystemExit(f"{out}: exit code {code}: {errors}")
        return document["weights_sha256"]


def kill_all(process, number):
    """Signals the process and, under mpirun, its ranks."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
    process.communicate()


def kills(trainer, limits):
    """C1: killed at random times, resumed each time."""
    whole, killed, groups, wrong = trainer.end("whole", *SHORT), 0, 0, 0
    started = time.monotonic()
    trainer.end("timed", *SHORT)
    most = time.monotonic() - started
    while killed < limits.kills:
        out = f"killed-{groups}"
        for _ in range(random.randint(1, 8)):
            process = trainer.begin(out, *SHORT, "--resume", start_new_session=True)
            try:
                process.communicate(timeout=random.uniform(0, most))
                break
            except subprocess.TimeoutExpired:
                kill_all(process, signal.SIGKILL)
                killed += 1
        wrong += trainer.end(out, *SHORT, "--resume") != whole
        shutil.rmtree(trainer.place / out)
        groups += 1
    return wrong == 0, f"{killed} kills in {groups} runs: {groups - wrong} end with the undisturbed weights"


def signals(trainer, limits):
    """C9: SIGINT and SIGTERM at random moments end the run within 5 s, with a checkpoint."""
    line = ["lenet", "--epochs", "4", "--batch-size", "128"]
    started = time.monotonic()
    whole = trainer.end("whole-9", *line)
    most, slowest, wrong = time.monotonic() - started, 0.0, []
    for at in range(limits.signals):
        number, code = ((signal.SIGINT, 130), (signal.SIGTERM, 143))[at % 2]
        out = f"stopped-{at}"
        process = trainer.begin(out, *line)
        time.sleep(random.uniform(0.05, most * 0.9))
        process.send_signal(number)
        told = time.monotonic()
        process.communicate()
        slowest = max(slowest, time.monotonic() - told)
        # A signal may come before the program listens, and after it has finished.
        begun = (trainer.place / out / "metrics.jsonl").exists()
        fine = process.returncode in (code, 0) or (process.returncode == -number and not begun)
        if not fine or trainer.end(out, *line, "--resume") != whole:
            wrong.append(process.returncode)
    return not wrong and slowest <= 5, f"{limits.signals} signals: slowest {slowest:.2f} s, wrong {wrong}"


def matrix(trainer, limits):
    """C6: seeds × threads × undisturbed or stopped five times × optimisers: one hash per seed and optimiser."""
    runs, found = 0, {}
    for optimizer, rate in (("sgd", "0.05"), ("rmsprop", "0.001"), ("adam", "0.001")):
        for seed in range(3):
            line = [*SHORT, "--optimizer", optimizer, "--lr", rate, "--seed", str(seed)]
            hashes = found.setdefault((optimizer, seed), set())
            for threads in (1, 2, 4):
                out = f"{optimizer}-{seed}-{threads}"
                hashes.add(trainer.end(out, *line, "--threads", str(threads)))
                stopped, stops = f"{out}-stopped", 0
                for _ in range(100):
                    process = trainer.begin(stopped, *line, "--threads", str(threads), "--resume")
                    time.sleep(random.uniform(0.02, 0.25))
                    process.send_signal(signal.SIGTERM)
                    process.communicate()
                    stops += process.returncode in (143, -signal.SIGTERM)
                    if process.returncode == 0 or stops == 5:
                        break
                hashes.add(trainer.end(stopped, *line, "--threads", str(threads), "--resume"))
                runs += 2
    different = len({next(iter(hashes)) for hashes in found.values()})
    one = all(len(hashes) == 1 for hashes in found.values()) and different == len(found)
    return one, f"{runs} runs: {different} seeds and optimisers, {sum(map(len, found.values()))} hashes"


def damage(trainer, limits):
    """C5: bits and ends of the newest checkpoint are lost: it is passed over and said so, and the run ends with its weights."""
    base = trainer.place / "base-5"
    process = trainer.begin(base, *SHORT)
    while len(list(base.glob("checkpoints/step-*"))) < 2:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    whole = trainer.end("whole-5", *SHORT)
    newest = max(base.glob("checkpoints/step-*"))
    files = [path for path in sorted(newest.rglob("*")) if path.is_file()]
    sizes = [path.stat().st_size for path in files]
    noticed = right = 0
    for at in range(limits.flips + limits.cuts):
        shutil.rmtree(trainer.place / "hurt", ignore_errors=True)
        shutil.copytree(base, trainer.place / "hurt")
        path = random.choices(files, sizes)[0]
        hurt = trainer.place / "hurt" / path.relative_to(base)
        data = bytearray(hurt.read_bytes())
        if at < limits.flips:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        else:
            del data[random.randrange(len(data)) :]
        hurt.write_bytes(data)
        code, document, errors = trainer.run("hurt", *SHORT, "--resume")
        noticed += newest.name in errors
        right += code == 0 and document["weights_sha256"] == whole
    count = limits.flips + limits.cuts
    return noticed == right == count, f"{limits.flips} flips, {limits.cuts} cuts: {noticed} told, {right} of {count} end alike"


# What saving asks of the system.
CALLS = ["openat", "mkdir", "write", "fsync", "fdatasync", "rename", "renameat2", "unlink", "unlinkat"]


def hashes_of(run):
    """What is in each checkpoint, by its name."""
    of = lambda folder: hashlib.sha256(b"".join(p.read_bytes() for p in sorted(folder.iterdir()))).hexdigest()
    return {folder.name: of(folder) for folder in run.glob("checkpoints/step-*")}


def refusals(trainer, limits):
    """C2: each call of a save fails once with each error: the run says so, and nothing that was there is lost."""
    strace = shutil.which("strace")
    if not strace:
        return None, "strace is missing"
    first, more = ["lenet", "--epochs", "1", "--batch-size", "600"], ["--resume", "--epochs", "2", "--threads", "1"]
    trainer.end("base-2", *first)
    base, run = trainer.place / "base-2", trainer.place / "refused"
    anew = lambda: (shutil.rmtree(run, ignore_errors=True), shutil.copytree(base, run))
    anew()
    log = trainer.place / "trace.txt"
    whole = trainer.run("refused", *more, before=[strace, "-f", "-y", "-q", "-o", log, "-e", f"trace=?{',?'.join(CALLS)}"])[1]
    counts, cases = {}, []
    for line in log.read_text(errors="replace").splitlines():
        call = re.match(r"(\d+) +(\w+)\((.*)", line)
        if call and call[2] in CALLS:
            key = call[1], call[2]
            counts[key] = counts.get(key, 0) + 1
            if str(run) in call[3] or re.search(r'"refused/', call[3]):
                cases.append((call[2], counts[key]))
    codes, wrong = {}, []
    before = hashes_of(base)
    for name, when in cases:
        for error in ("ENOSPC", "EIO", "EDQUOT", "EINTR"):
            anew()
            inject = [strace, "-f", "-q", "-o", "/dev/null", "-e", f"inject={name}:error={error}:when={when}"]
            code = trainer.run("refused", *more, before=inject)[0]
            codes[code] = codes.get(code, 0) + 1
            after = hashes_of(run)
            kept = any(after.get(step) == content for step, content in before.items()) or len(after) > 0 and code == 0
            ended = trainer.end("refused", *more)
            if code not in (0, 4) or not kept or ended != whole["weights_sha256"]:
                wrong.append(f"{name} {when} {error}: exit code {code}, kept {kept}")
    told = ", ".join(f"{count} × {code}" for code, count in sorted(codes.items()))
    return not wrong, f"{len(cases)} calls × 4 errors: exit codes {told}; wrong {wrong[:5]}"


def memory(trainer, limits):
    """C8: a run that does not fit ends with 4 before it begins, and says what it needs."""
    least = lambda: resource.setrlimit(resource.RLIMIT_AS, (256 * MIB, 256 * MIB))
    code, _, errors = trainer.run("vgg", "vgg16", "--data", "digits", "--epochs", "1", preexec_fn=least)
    return code == 4 and "MiB" in errors, f"VGG-16 in 256 MiB: exit code {code}, {errors.strip().splitlines()[-1][:150]!r}"


def soak(trainer, limits):
    """C12: memory and files stay the same over a long run."""
    process = trainer.begin("soak", "lenet", "--epochs", "1000000", "--batch-size", "64", "--checkpoint-steps", "50")
    points, files, started = [], set(), time.monotonic()
    while time.monotonic() - started < limits.soak:
        time.sleep(min(5, limits.soak / 20))
        text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        resident = int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024
        now = time.monotonic() - started
        if now > limits.soak / 6:
            points.append((now / 600, resident))
            files.add(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
    process.send_signal(signal.SIGTERM)
    process.communicate()
    mean = [sum(point[axis] for point in points) / len(points) for axis in (0, 1)]
    slope = sum((x - mean[0]) * (y - mean[1]) for x, y in points) / sum((x - mean[0]) ** 2 for x, _ in points)
    told = f"{limits.soak:.0f} s: {mean[1]:.1f} MiB, {slope:+.2f} MiB in ten minutes, {min(files)} to {max(files)} files"
    return slope < 1 and max(files) - min(files) <= 2, told


FORMS = {"kills": kills, "signals": signals, "matrix": matrix, "damage": damage, "refusals": refusals, "memory": memory, "soak": soak}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--only", choices=FORMS, action="append", help="these forms")
    parser.add_argument("--mpi", type=Path, help="a program with the feature mpi: killed under mpirun -n 2 as well")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--signals", type=int, default=SIGNALS)
    parser.add_argument("--flips", type=int, default=FLIPS)
    parser.add_argument("--cuts", type=int, default=CUTS)
    parser.add_argument("--soak", type=float, default=1800, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    limits = parser.parse_args()
    random.seed(limits.seed)
    chosen = [(name, FORMS[name], [limits.program.resolve()]) for name in limits.only or FORMS]
    if limits.mpi:
        mpirun = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", limits.mpi.resolve()]
        chosen.append(("kills of two ranks", kills, mpirun))
    held = True
    for name, form, line in chosen:
        with tempfile.TemporaryDirectory() as place:
            started = time.monotonic()
            fine, told = form(Trainer(line, Path(place)), limits)
            held &= fine is not False
            word = {True: "held", False: "FAILED", None: "skipped"}[fine]
            print(f"{name}: {word}: {told} ({time.monotonic() - started:.0f} s)", flush=True)
    sys.exit(not held)


if __name__ == "__main__":
    main()
