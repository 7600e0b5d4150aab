"""Stands for the command of a step: notes when it began and ended, and where. It imports nothing of ours, so it starts at once.

python fake_step.py JOURNAL NAME SECONDS [fail | pool | broken:GPU | killed:NAME | killed_once:NAME | kills:NAME]
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time


def note(journal: str, what: str, name: str) -> None:
    facts = {"what": what, "name": name, "time": time.time(), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "pid": os.getpid()}
    facts["job"] = os.environ.get("SLURM_JOB_ID")
    with open(journal, "a", encoding="utf-8") as file:
        file.write(json.dumps({**facts, "worker": os.getppid()}) + "\n")


def has_noted(journal: str, what: str, name: str) -> bool:
    if not os.path.exists(journal):
        return False
    with open(journal, encoding="utf-8") as file:
        return any((line["what"], line["name"]) == (what, name) for line in map(json.loads, file))


def end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    os.killpg(os.getpgid(0), 9)


def square(number: int) -> int:
    return number * number


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    journal, name, seconds, *how = sys.argv[1:]
    if has_noted(journal, "end", name):
        raise SystemExit(0)  # a real step looks at its file
    again = has_noted(journal, "begin", name)
    note(journal, "begin", name)
    if f"broken:{os.environ.get('CUDA_VISIBLE_DEVICES')}" in how:
        raise SystemExit("CUDA error: the device has fallen off the bus")
    if f"killed:{name}" in how or (f"killed_once:{name}" in how and not again):
        os.kill(os.getpid(), 9)
    if f"kills:{name}" in how:
        os.kill(os.getppid(), 9)
        time.sleep(600)  # ends with its parent
    if "pool" in how:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            print(pool.map(square, range(4)))
    time.sleep(float(seconds))
    if "fail" in how:
        print("CUDA error: out of luck")
        raise SystemExit(3)
    note(journal, "end", name)
