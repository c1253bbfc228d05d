"""``longbench`` with a worker that takes milliseconds in place of the one that measures; all else is the real thing.

    python light_longbench.py run --impl vanilla ...

What the worker does beside reporting a result is in the environment; ``N`` is the sequence length it happens at:

    LIGHT_LOG=FILE          append a line: the case that it is asked for, as JSON
    LIGHT_CHILD=1           leave a child in a session of its own
    LIGHT_ITERATIONS=COUNT  iterations in a result: how long its line is
    LIGHT_WAIT=N:FIFO       wait until somebody opens the FIFO for writing, and closes it
    LIGHT_WRITE=N:FILE      write "1" to a file
    LIGHT_OOM=N             report out of memory, at this length and beyond
"""

from __future__ import annotations

import sys

from longbench_cli.app import main
from longbench_cli.execute import isolate

WORKER = r"""
import json, os, signal, sys
fd = int(sys.argv[sys.argv.index("--result-fd") + 1])
request = json.loads(sys.stdin.readline())
length = request["case"]["seq_len"]
def at(name):
    where, _, what = os.environ.get(name, "").partition(":")
    return what if where == str(length) else None
def append(path, text, flags=os.O_WRONLY | os.O_APPEND | os.O_CREAT):
    log = os.open(path, flags, 0o666)
    os.write(log, text.encode())
    os.close(log)
if "LIGHT_LOG" in os.environ:
    append(os.environ["LIGHT_LOG"], json.dumps(request["case"], sort_keys=True) + "\n")
if "LIGHT_CHILD" in os.environ and os.fork() == 0:
    os.setsid()
    while True:
        signal.pause()
if request.get("turns"):
    os.write(fd, b'{"type":"waiting"}\n')
    sys.stdin.readline() or sys.exit()
if at("LIGHT_WAIT"):
    open(at("LIGHT_WAIT")).read()
if at("LIGHT_WRITE"):
    append(at("LIGHT_WRITE"), "1", os.O_WRONLY)
if length >= int(os.environ.get("LIGHT_OOM", sys.maxsize)):
    result = {"status": "oom", "reason": "12 of 8 GiB"}
else:
    count = int(os.environ.get("LIGHT_ITERATIONS", 2))
    latency = {"iterations_ns": [1000007] * count, "median_ns": 1000007.0, "ci95_ns": None,
               "mean_ns": 1000007.0, "p95_ns": 1000007.0, "noise": 0.0, "stopped_by": "max_time"}
    result = {"status": "ok", "reason": None, "backend": "math", "latency": latency,
              "memory": {"input_bytes": 1, "peak_bytes": 2, "nvml_peak_bytes": None}, "telemetry": None,
              "cost": {"flops": 1, "dense_flops": 1, "io_bytes": 1, "comm_bytes": 0},
              "verification": {"status": "passed", "rows": 64, "max_error": 0.1, "tolerance": 0.2}}
data = json.dumps({"type": "result", **result}).encode() + b"\n"
while data:
    data = data[os.write(fd, data):]
"""


def install() -> None:
    """Have this process's sweeps start the light worker."""
    isolate.WORKER = (sys.executable, "-I", "-S", "-c", WORKER)


if __name__ == "__main__":
    install()
    main()
