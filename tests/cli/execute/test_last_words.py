"""Of what a point printed, the line that goes into its reason."""

from __future__ import annotations

import pytest

from longbench_cli.execute.printed import last_words

TRACEBACK = ["Traceback (most recent call last):", '  File "a.py", line 3, in f', "    raise Odd", "    ^^^^^^^^^"]
CUDA = ["RuntimeError: CUDA error: device-side assert triggered", "For debugging consider CUDA_LAUNCH_BLOCKING=1"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ""),
        (["loading", "  killed by hand "], "killed by hand"),
        ([*TRACEBACK, "a.Odd"], "a.Odd"),
        (["loading", *TRACEBACK, *CUDA], CUDA[0]),
        ([*TRACEBACK, "KeyError: 1", "During handling of the above:", *TRACEBACK, *CUDA], CUDA[0]),
        (TRACEBACK, "    ^^^^^^^^^".strip()),
        (
            [*TRACEBACK, *CUDA, "Fatal Python error: Aborted", "Thread 0x1:", '  File "b.py"', "Current thread 0x2:",
             '  File "c.py", line 1 in g', '  File "d.py", line 2 in h'],
            'File "c.py", line 1 in g',
        ),
    ],
)  # fmt: skip
def test_the_line_that_says_most(lines: list[str], words: str) -> None:
    assert last_words(lines) == words
