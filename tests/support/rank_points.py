"""Points of several ranks in real processes, with a store and a pipe of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch.distributed as dist

from longbench_cli.execute.states import RankState, read_states
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.case import Case

_TESTS = Path(__file__).resolve().parents[1]
CASE: dict[str, Any] = {
    "impl": "gathered_attention:right",
    "backend": "auto",
    "pass": "fwd",
    "seq_len": 50,
    "batch": 2,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 8,
    "dtype": "float32",
    "causal": True,
    "world_size": 2,
    "device": "cpu",
    "options": {},
}
SETTINGS = {"max_time": 0.05, "min_iterations": 6, "max_iterations": 20, "threads": 1}
ENOUGH_S = 120.0
RECORDED = ("latency", "timing", "memory", "telemetry", "cost", "verification", "verdict", "ranks", "communication")


@dataclass(frozen=True)
class Ended:
    """A point that is over: what was said on the pipe, the ranks' exit codes, what they printed, where they were."""

    case: Case
    said: list[dict[str, Any]]
    codes: list[int]
    printed: str
    states: list[RankState]

    @property
    def result(self) -> dict[str, Any]:
        """The first one, as the parent has it."""
        results = [message for message in self.said if message["type"] == "result"]
        assert results, (self.codes, self.printed)
        return results[0]

    @property
    def record(self) -> MeasuredPoint:
        """The result as it is recorded."""
        assert self.result["status"] == "ok", self.result
        values = {name: self.result[name] for name in RECORDED}
        return MeasuredPoint(key=self.case.key, case=self.case, **values)


class Zygote:
    """Runs points one after another; a context manager."""

    def __enter__(self) -> Self:
        path = os.pathsep.join([str(_TESTS / "fixtures"), str(_TESTS / "support"), str(_TESTS.parent)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rank_zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(
        self,
        folder: Path,
        settings: dict[str, Any] | None = None,
        on_message: Callable[[dict[str, Any]], bytes | None] | None = None,
        **change: Any,
    ) -> Ended:
        """:data:`CASE` with ``change``. ``on_message`` makes it take turns: what it returns is written to them."""
        case = Case.model_validate(CASE | change)
        request = {"case": case.model_dump(by_alias=True), "settings": SETTINGS | (settings or {})}
        (folder / "request.json").write_text(json.dumps(request | {"turns": on_message is not None}))
        reader, writer = os.pipe()
        turns, give = os.pipe()
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        common = {
            "GLOO_SOCKET_IFNAME": "lo",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "WORLD_SIZE": str(case.world_size),
        }
        said: list[dict[str, Any]] = []

        def listen() -> None:
            with os.fdopen(reader) as pipe:
                for line in pipe:
                    said.append(json.loads(line))
                    answer = on_message(said[-1]) if on_message is not None else None
                    if answer is not None:
                        os.write(give, answer)

        listener = threading.Thread(target=listen)
        listener.start()
        arguments = ["--folder", str(folder), "--result", f"/proc/{os.getpid()}/fd/{writer}"]
        point = {
            "ranks": [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(case.world_size)],
            "arguments": [*arguments, "--turns", f"/proc/{os.getpid()}/fd/{turns}"],
            "printed": str(folder / "printed"),
        }
        codes = self._answer(point)
        os.close(writer)
        listener.join()
        for end in (turns, give):
            os.close(end)
        return Ended(case, said, codes, (folder / "printed").read_text(), read_states(folder, case.world_size))

    def _answer(self, point: dict[str, Any]) -> list[int]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(point).encode() + b"\n")
        stdin.flush()
        hung = threading.Timer(ENOUGH_S, lambda: os.killpg(self._process.pid, 9))
        hung.start()
        answer = stdout.readline()
        hung.cancel()
        assert answer, "the ranks did not end"
        codes: list[int] = json.loads(answer)
        return codes
