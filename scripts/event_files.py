#!/usr/bin/env python3
"""Reads a run's event files as TensorBoard does and compares them with its log.

    python3 -m venv /tmp/tb && /tmp/tb/bin/pip install tensorboard
    top5 train lenet --epochs 2 --tensorboard --out run
    /tmp/tb/bin/python scripts/event_files.py run

Every step and every epoch must be there once, with the log's values as 32-bit floats. One line per tag; the exit status is 0
if all agree.
"""
import json
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

STEP = {"step/loss": "loss", "step/lr": "lr", "step/top1": "top1"}
EPOCH = {
    "train/loss": "train_loss",
    "train/top1": "train_top1",
    "train/top5": "train_top5",
    "validation/loss": "eval_loss",
    "validation/top1": "eval_top1",
    "validation/top5": "eval_top5",
}


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def main():
    run = pathlib.Path(sys.argv[1])
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    known = set(events.Tags()["scalars"])
    wrong = 0
    for tags, kind in ((STEP, "step"), (EPOCH, "epoch")):
        for tag, key in tags.items():
            expected = [(line["step"], f32(line[key])) for line in log if line["event"] == kind and key in line]
            found = [(event.step, event.value) for event in events.Scalars(tag)] if tag in known else []
            same = found == expected
            wrong += not same
            print(f"{tag}: {len(found)} values, {'as in the log' if same else 'not those of the log'}")
    times = [event.wall_time for event in events.Scalars("step/loss")]
    if times != sorted(times):
        print("times go backwards")
        wrong += 1
    sys.exit(1 if wrong else 0)


main()
