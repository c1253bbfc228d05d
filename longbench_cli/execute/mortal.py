"""Turns into a module that does not outlive the process that started it.

    python -m longbench_cli.execute.mortal PARENT MODULE WORDS...

Torch's agent starts each rank in a session of its own. A guard that is killed takes the launcher along, and finds
nothing else; so the ranks go with the launcher.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the module, unless PARENT is gone already: what is asked of the kernel here stays with the process."""
    parent, words = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)
    os.execv(sys.executable, [sys.executable, "-m", *words])  # noqa: S606 - a module of ours, and no shell


if __name__ == "__main__":
    main()
