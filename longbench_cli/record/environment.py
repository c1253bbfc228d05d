"""Where a run was measured: enough to judge whether two runs can be compared."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import psutil

from longbench_cli.measure.machine import cpu_model, read_gpus

_PACKAGES = ("torch", "triton", "flash-attn", "numpy", "longbench-cli")
_GIT_SECONDS = 5.0


def environment() -> dict[str, Any]:
    """Fingerprint of machine and software, as JSON values.

    Never raises: what cannot be found out is null. ``gpus`` is null, with ``gpus_missing`` saying
    why, where NVML cannot be asked. ``memory_bytes`` is physical memory. Imports no framework.
    """
    gpus, gpus_missing = _gpus()
    return {
        "hostname": _try(socket.gethostname),
        "os": _try(_os_name),
        "kernel": _try(platform.release),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "cpu": _try(cpu_model),
        "cores": _try(lambda: psutil.cpu_count(logical=False)),
        "threads": _try(lambda: psutil.cpu_count(logical=True)),
        "affinity": _try(lambda: len(os.sched_getaffinity(0))),
        "memory_bytes": _try(lambda: int(psutil.virtual_memory().total)),
        "gpus": gpus,
        "gpus_missing": gpus_missing,
        "git": _try(_git),
    }


def _try(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception:  # an odd machine must not stop a measurement
        return None


def _os_name() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME") or platform.system()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except Exception:  # not installed, or its metadata is broken
        return None


def _gpus() -> tuple[list[dict[str, Any]] | None, str | None]:
    try:
        found = read_gpus()
    except Exception as error:  # no library, no driver, no permission: each has its own class
        return None, f"{type(error).__name__}: {error}"
    return [{"name": gpu.name, "memory_bytes": gpu.memory_total, "driver": gpu.driver} for gpu in found], None


def _git() -> dict[str, Any] | None:
    """Commit of the current directory's checkout, and whether tracked files differ from it."""

    def ask(*words: str) -> str:
        done = subprocess.run(
            ["git", *words],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
        return done.stdout.strip()

    return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "--untracked-files=no"))}
