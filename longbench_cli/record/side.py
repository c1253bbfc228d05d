"""``python -m longbench_cli.record.side IMPL...``: what this interpreter would run here, for a gate, as a JSON line."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import longbench_cli
from longbench_cli.execute.protocol import DUET_PROTOCOL
from longbench_cli.record.environment import environment


def side(impls: Sequence[str]) -> dict[str, Any]:
    """Versions, fingerprint, and of each implementation why it is not found here, or None."""
    return {
        "protocol": DUET_PROTOCOL,
        "version": longbench_cli.__version__,
        "python": platform.python_version(),
        "location": str(Path(longbench_cli.__file__).parent),
        "environment": environment(),
        "impls": {name: _why_not(name) for name in impls},
    }


def _why_not(name: str) -> str | None:
    from attention_impls.api import UnknownImplementation, get_implementation

    try:
        get_implementation(name)
    except UnknownImplementation as error:
        return str(error)
    except SystemExit as error:  # a script given as a module
        return f"implementation {name!r} does not import: it ends the process ({error})"
    return None


def main(impls: Sequence[str]) -> None:
    """Print one line, that begins as no other does: what is imported may print too."""
    told = side(impls)
    sys.stdout.write(f"\n{json.dumps({'longbench_side': told})}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
