"""Disks that a test may fill and break: mounted where no other process sees them, gone with the one that does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

# Outside of a namespace of its own for users, root alone may mount, and only in one may anybody else.
_UNSHARE = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--mount", "--map-root-user")

TINY = "mount -t tmpfs -o size={bytes} none disk"
"""A disk of whole pages, 4 KiB each; `mount -o remount,size=...` makes room."""

FAILING = """truncate -s 8M disk.img
mkfs.ext4 -q -F disk.img
mount -o loop,errors=remount-ro disk.img disk
"""
"""A disk whose kernel can be told of an error on it, upon which it takes no more writes; {TRIGGER} tells it."""
TRIGGER = "/sys/fs/ext4/$(basename $(findmnt -no SOURCE disk))/trigger_fs_error"


def on_a_private_disk(script: str, folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``script`` in a shell that may mount on ``folder / "disk"``; it ends at the first command that fails."""
    (folder / "disk").mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [*_UNSHARE, "sh", "-e", "-c", script],
        cwd=folder,
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def why_not(mount: str, folder: Path) -> str | None:
    """Why a disk cannot be mounted so here; None if it can."""
    if shutil.which("unshare") is None:
        return "no unshare(1)"
    done = on_a_private_disk(mount, folder, os.environ)
    said = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else f"no private disk: {said[-1] if said else done.returncode}"
