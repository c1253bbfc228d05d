"""Turns into the one rank of a point that is this process's, among those that supervisors on many machines start.

    python -m longbench_cli.execute.one_rank --result-fd N < request.json

The request is one line, as that of :mod:`longbench_cli.execute.launch`, with the ``environment`` of this rank too,
by torchrun's names. The process stays the same one, so that how it ends is how the rank ends.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from longbench_cli.execute.ranks import RANK, REQUEST


def main(module: str = RANK) -> None:
    """Become ``module`` as the rank that is asked for on standard input."""
    pipe = sys.argv[sys.argv.index("--result-fd") + 1]
    line = sys.stdin.buffer.readline()
    request = json.loads(line)
    folder = Path(request["folder"])
    (folder / REQUEST).write_bytes(line)
    words = ["-m", module, "--folder", str(folder), "--result", f"/dev/fd/{pipe}"]
    if request.get("turns"):
        words += ["--turns", "/dev/fd/0"]
    os.execve(sys.executable, [sys.executable, *words], {**os.environ, **request["environment"]})  # noqa: S606


if __name__ == "__main__":
    main()
