"""What ends a measurement from outside ends it as Ctrl-C does, so that what was measured is kept and told."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """A batch system's SIGTERM and a lost terminal's SIGHUP are a user's Ctrl-C, unless they are ignored.

    Only the first counts: what follows it must not end the cleaning up, but for Ctrl-C again.
    """
    ending = False

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal ending
        if not ending or number == signal.SIGINT:
            ending = True
            raise KeyboardInterrupt

    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    taken = [number for number in ours if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
