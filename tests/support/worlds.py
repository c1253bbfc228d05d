"""A job of 8 gloo processes that is started once a session and runs functions on its first 1 to 8 ranks.

    def sums(comm: Communicator, x: int) -> float:  # in the test's own module
        return comm.all_reduce(torch.tensor([float(x)])).wait().item()

    assert run_ranks(3, sums, 2) == [6.0, 6.0, 6.0]

A call costs some milliseconds: processes, connections and process groups live on from call to call.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.util
import inspect
import io
import multiprocessing
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from attention_impls.distributed.comm import Communicator, TorchGroups

MOST_RANKS = 8
_LAST_WORDS_SECONDS = 2.0
"""How long the other ranks may take to answer when one has failed: most of them wait for it in vain."""

_PRELOADED = ["torch", "torch.distributed", "numpy", "pytest", "hypothesis"]
"""Imported once, by the process that all ranks are forked from."""


class RankFailed(AssertionError):
    """A function raised on some rank, a rank died, or the ranks did not end in time."""


def run_ranks(world_size: int, function: Callable[..., Any], *args: Any, seconds: float = 60.0) -> list[Any]:
    """``function(comm, *args)`` on every rank of a world; what each rank returned, in the order of ranks.

    Args:
        world_size: 1 to 8.
        function: defined at the top of an importable module or of a test module; ``comm`` is a new
            :class:`~attention_impls.distributed.comm.Communicator` of the world.
        args: anything that can be pickled, the same for all ranks; so is what is returned. Tensors arrive as
            copies that require no gradient.
        seconds: that all this may take.

    Raises:
        RankFailed: with the tracebacks of the ranks. Ranks that hang are ended, and started anew by the next call.
    """
    return _pool().run(world_size, function, args, seconds)


_pools: list[_Pool] = []


def _pool() -> _Pool:
    if not _pools:
        _pools.append(_Pool())
    return _pools[0]


@atexit.register
def _close() -> None:
    while _pools:
        _pools.pop().end()


class _Pool:
    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(MOST_RANKS):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, self._store.port, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, world_size: int, function: Callable[..., Any], args: tuple[Any, ...], seconds: float) -> list[Any]:
        module = sys.modules[function.__module__]
        home = (module.__name__, inspect.getfile(module), function.__qualname__)
        message = pickle.dumps((world_size, *home, _dumps(args)))
        for pipe in self._pipes[:world_size]:
            pipe.send_bytes(message)
        answers = self._answers(world_size, seconds)
        failed = [f"rank {rank} of {world_size}: {text}" for rank, (ok, text) in sorted(answers.items()) if not ok]
        silent = [rank for rank in range(world_size) if rank not in answers]
        if silent:
            failed.append(f"no answer of ranks {silent} of {world_size}")
            _close()
        if failed:
            raise RankFailed("\n".join(failed))
        return [answers[rank][1] for rank in range(world_size)]

    def _answers(self, world_size: int, seconds: float) -> dict[int, tuple[bool, Any]]:
        """Whether each rank's function returned, and what, or else its traceback; as far as ranks answer in time."""
        answers: dict[int, tuple[bool, Any]] = {}
        waiting = {pipe: rank for rank, pipe in enumerate(self._pipes[:world_size])}
        deadline = time.monotonic() + seconds
        while waiting and (ready := wait(list(waiting), max(0.0, deadline - time.monotonic()))):
            for pipe in ready:
                rank = waiting.pop(pipe)  # type: ignore[call-overload]
                with contextlib.suppress(EOFError, OSError):  # it died: it has no answer
                    answers[rank] = pickle.loads(pipe.recv_bytes())  # type: ignore[union-attr]
                if rank not in answers or not answers[rank][0]:
                    deadline = min(deadline, time.monotonic() + _LAST_WORDS_SECONDS)
        return answers

    def end(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()


def _serve(rank: int, port: int, pipe: Connection) -> None:
    """The life of a rank: join the job, make the groups of all runs of ranks, then do what it is told."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=MOST_RANKS, timeout=timedelta(minutes=2))
    groups = TorchGroups()
    groups.prepare(range(a, b) for a in range(MOST_RANKS) for b in range(a + 1, MOST_RANKS + 1))
    while True:
        try:
            message = pipe.recv_bytes()
        except EOFError:  # the tests are over
            os._exit(0)
        pipe.send_bytes(_dumps(_answer(rank, message, groups)))


def _answer(rank: int, message: bytes, groups: TorchGroups) -> tuple[bool, Any]:
    try:
        world_size, module, file, name, args = pickle.loads(message)
        function = getattr(_module(module, file), name)
        return True, function(Communicator(rank, world_size, groups), *pickle.loads(args))
    except Exception:
        return False, traceback.format_exc()


def _module(name: str, file: str) -> Any:
    """The module of a function: by name, or by file where pytest has named it itself."""
    if name in sys.modules:
        return sys.modules[name]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


class _Pickler(pickle.Pickler):
    """Tensors as plain bytes: torch's own way goes through shared memory or a file format, for a millisecond each."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return NotImplemented
        flat = value.detach().cpu().contiguous().reshape(-1)
        return _tensor, (flat.view(torch.uint8).numpy().tobytes(), value.dtype, tuple(value.shape))


def _dumps(value: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()


def _tensor(data: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype).view(shape) if data else torch.empty(shape, dtype=dtype)
