"""Device-wide memory through NVML, sampled from a thread; absent without a driver."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

_PERIOD_S = 0.01


class NvmlPeak:
    """Context manager: ``peak_bytes`` is the most memory in use on the device while it was open.

    NVML counts every process on the device and what the caching allocator keeps, so it is beside
    torch's own peak and not instead of it. None where NVML or the device cannot be asked.
    """

    def __init__(self, device: str) -> None:
        self.peak_bytes: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._nvml: Any = None
        self._handle: Any = None
        if device == "cuda":
            self._open()

    def _open(self) -> None:
        try:
            import pynvml
            import torch

            pynvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties().uuid}"
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            self._nvml = pynvml
        except Exception:  # no library, no driver, no permission: each has its own NVMLError
            self._nvml = None

    def __enter__(self) -> Self:
        if self._nvml is not None:
            self._sample()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._sample()

    def _watch(self) -> None:
        while self._nvml is not None and not self._stop.wait(_PERIOD_S):
            self._sample()

    def _sample(self) -> None:
        """Look once. A device that stops answering has no peak: what was seen so far may not hold it."""
        if self._nvml is None:
            return
        try:
            used = int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)
        except self._nvml.NVMLError:
            self._nvml = self.peak_bytes = None
            return
        self.peak_bytes = max(self.peak_bytes or 0, used)
