"""A leader and its followers, as threads around a store in memory, with real processes as ranks: how points end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fake_post import FakePost, a_seat, an_introduction
from processes import is_gone, wait_until

from longbench_cli.errors import UsageError
from longbench_cli.execute import heart, led, nodes, seat
from longbench_cli.execute.follow import Follower
from longbench_cli.execute.isolate import run_isolated
from longbench_cli.execute.led import LedRanks
from longbench_cli.execute.nodes import Leader
from longbench_cli.execute.outcome import Outcome
from longbench_cli.execute.post import JobLost
from longbench_cli.execute.turns import Member, take_turns

ROOT = Path(__file__).resolve().parents[3]
SIZE = 4
LIGHT = (sys.executable, "-c", "from longbench_cli.execute import one_rank; one_rank.main('rank_programs')")
SLEEPS = "rank.state.stage('verifying'); rank.state.calls(18); time.sleep(3600)"


class Job:
    """A job of four supervisors on two nodes."""

    def __init__(self) -> None:
        self.post = FakePost()
        self.leader = Leader(a_seat(0, SIZE), self.post, an_introduction(0), "longbench/job")
        self.codes: dict[int, tuple[int, str | None]] = {}
        self.followers = [threading.Thread(target=self._follow, args=(rank,)) for rank in range(1, SIZE)]

    def _follow(self, rank: int) -> None:
        self.codes[rank] = Follower(a_seat(rank, SIZE), self.post, an_introduction(rank), "longbench/job").run()

    def start(self) -> None:
        for thread in self.followers:
            thread.start()
        self.leader.muster()

    def join(self) -> None:
        for thread in self.followers:
            thread.join(60)
            assert not thread.is_alive()

    def run(self, others: str, ranks: dict[str, str] | None = None, size: int = SIZE, timeout_s: float = 60) -> Outcome:
        return run_isolated(
            request(others, ranks or {}, size),
            timeout_s=timeout_s,
            on_progress=lambda _: None,
            ranks=LedRanks(self.leader, size),
        )


def request(others: str, ranks: dict[str, str], size: int) -> dict[str, Any]:
    return {"case": {"world_size": size}, "others": others, "ranks": ranks}


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests' / 'support'}")
    monkeypatch.setattr(seat, "ONE_RANK", LIGHT)
    monkeypatch.setattr(heart, "BEAT_EVERY_S", 0.05)
    for module in (nodes, led):
        monkeypatch.setattr(module, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(LedRanks, "look_every_s", 0.05)
    monkeypatch.setattr("longbench_cli.execute.follow.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("longbench_cli.execute.follow._LET_RANK_0_END_FIRST_S", 0.0)
    monkeypatch.setattr("longbench_cli.execute.follow.FollowedRank.look_every_s", 0.05)
    job = Job()
    with ExitStack() as stack:
        stack.enter_context(job.leader.heart)
        job.start()
        yield job
        job.leader.end(0)
        job.join()


def test_points_of_all_ranks_and_of_some(job: Job) -> None:
    for size in (SIZE, 3, 2):
        outcome = job.run("", {"0": "rank.ok(size=rank.size, prefix=os.environ['LONGBENCH_STORE_PREFIX'])"}, size)
        assert outcome.status == "ok", outcome.reason
        assert outcome.result is not None
        assert outcome.result["size"] == size
        number = job.leader.ordered - 1
        assert outcome.result["prefix"] == f"longbench/job/point/{number}"
        told = [name for name in job.post.left if name.startswith(f"report/{number}/")]
        assert len(told) == size - 1  # nobody else had a part in it


def test_where_a_rank_finds_itself() -> None:
    """Three ranks of a point on two nodes of two: the second node has one of them."""
    assert a_seat(1, 4).environment(3, "p")["LOCAL_WORLD_SIZE"] == "2"
    last = a_seat(2, 4).environment(3, "p")
    assert (last["RANK"], last["LOCAL_RANK"], last["LOCAL_WORLD_SIZE"], last["WORLD_SIZE"]) == ("2", "0", "1", "3")
    assert last["LONGBENCH_STORE_PREFIX"] == "p"


def test_a_rank_that_falls_ends_the_point_everywhere_and_the_sweep_goes_on(job: Job, tmp_path: Path) -> None:
    note = f"open({str(tmp_path)!r} + f'/{{rank.number}}', 'w').write(str(os.getpid())); "
    outcome = job.run(note + SLEEPS, {"2": note + "print('a last word', flush=True); os.kill(os.getpid(), 9)"})
    assert outcome.status == "crashed"
    assert outcome.reason == "rank 2 of 4 on node1: killed by SIGKILL: a last word"
    assert outcome.stderr_tail == ["a last word"]
    assert all(is_gone(int(file.read_text())) for file in tmp_path.iterdir())
    assert job.run("", {"0": "rank.ok()"}).status == "ok"


def test_who_loses_another_is_not_taken_for_the_cause(job: Job, tmp_path: Path) -> None:
    """Rank 0 raises when rank 3, which was killed, is gone."""
    raises = "while not os.path.exists(rank.request['gone']): time.sleep(0.01)\nraise ConnectionError('closed by peer')"
    folder = "rank.request['gone']"
    killed = f"open({folder}, 'w').close(); os.kill(os.getpid(), 9)"
    asked = request(raises, {"3": killed}, SIZE) | {"gone": str(tmp_path / "gone")}
    outcome = run_isolated(asked, timeout_s=60, on_progress=lambda _: None, ranks=LedRanks(job.leader, SIZE))
    assert outcome.reason == "rank 3 of 4 on node1: killed by SIGKILL"


def test_a_result_of_any_rank_is_the_points(job: Job) -> None:
    outcome = job.run(SLEEPS, {"3": "rank.say(type='result', status='oom', reason='rank 3: 12 of 8 GiB'); sys.exit(3)"})
    assert (outcome.status, outcome.reason) == ("oom", "rank 3: 12 of 8 GiB")


def test_a_hang_is_a_timeout_that_names_who_is_behind(job: Job) -> None:
    late = "rank.state.stage('verifying'); rank.state.calls(17); print('waiting', flush=True); time.sleep(3600)"
    outcome = job.run(SLEEPS, {"2": late}, timeout_s=3)
    assert outcome.status == "timeout"
    assert outcome.reason == (
        "no result after 3 s: killed; rank 2 of 4 is behind: in verifying after 17 collectives, the others after 18: "
        "waiting"
    )


def test_points_take_turns_across_the_job(job: Job, tmp_path: Path) -> None:
    log = tmp_path / "log"
    turns = "for _ in range(3):\n rank.turns(1)\n open({log!r}, 'a').write({name!r})\nrank.ok()"
    ended: dict[str, Outcome] = {}

    def member(name: str) -> Member:
        asked = request("", {"0": turns.format(log=str(log), name=name)}, SIZE)
        return Member(
            asked, 60, lambda _: None, lambda outcome: ended.__setitem__(name, outcome), LedRanks(job.leader, SIZE)
        )

    take_turns([member("a"), member("b")])
    assert {name: outcome.status for name, outcome in ended.items()} == {"a": "ok", "b": "ok"}
    assert log.read_text() == "abbaab"


def test_the_end_ends_all_with_the_same_code(job: Job) -> None:
    job.leader.end(1)
    job.join()
    assert job.codes == dict.fromkeys(range(1, SIZE), (1, None))


def test_a_supervisor_that_is_gone_ends_the_sweep(job: Job, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    note = f"open({str(pid)!r}, 'w').write(str(os.getpid())); "

    def lose() -> None:
        wait_until(pid.exists)
        job.leader.heart.tell("rank 3 on node1 is gone")

    losing = threading.Thread(target=lose)
    losing.start()
    with pytest.raises(JobLost, match="rank 3 on node1 is gone"):
        job.run(SLEEPS, {"0": note + SLEEPS})
    losing.join()
    job.join()
    assert {code for code, _ in job.codes.values()} == {1}
    assert [rank for rank, (_, line) in job.codes.items() if line] == [2]  # once a machine but the leader's
    with pytest.raises(JobLost):
        job.run("")


def test_a_store_that_is_gone_ends_all(job: Job) -> None:
    job.post.gone = True
    with pytest.raises(JobLost):
        job.run("", {"0": "rank.ok()"})
    job.join()
    assert {code for code, _ in job.codes.values()} == {1}
    job.post.gone = False


def test_a_heart_that_stops_is_noticed_by_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heart, "BEAT_EVERY_S", 0.02)
    monkeypatch.setattr(heart, "LOST_AFTER_S", 0.5)
    post = FakePost()
    hearts = [heart.Heart(a_seat(rank, 3), post, lambda rank: f"rank {rank} on a node") for rank in range(3)]
    with hearts[0], hearts[1]:
        assert not wait_until(lambda: any(one.look() for one in hearts), seconds=0.8)  # one that has not begun
        with hearts[2]:
            assert not wait_until(lambda: any(one.look() for one in hearts), seconds=0.8)
        assert wait_until(lambda: all(one.lost for one in hearts[:2]))
    assert hearts[0].lost == "rank 2 on a node is gone: no sign of it for 0.5 s"


def test_other_versions_are_refused_in_one_line() -> None:
    post = FakePost()
    leader = Leader(a_seat(0, 2), post, an_introduction(0), "p")
    theirs = {"longbench": "1", "torch": "2.1", "python": "3"}
    Follower(a_seat(1, 2), post, an_introduction(1, theirs, node_size=1), "p").greet()
    with pytest.raises(UsageError, match=r"rank 1 on node1 .* rank 0 on node0: torch 2\.1 there and 2 here"):
        leader.muster()


def test_more_ranks_than_the_job_has_and_fewer_gpus_than_ranks() -> None:
    leader = Leader(a_seat(0, 2), FakePost(), an_introduction(0, gpus=1), "p")
    leader.refuse(2, cuda=False)
    with pytest.raises(UsageError, match="--gpus 3: this job has 2 ranks"):
        leader.refuse(3, cuda=False)
    with pytest.raises(UsageError, match=r"node0 has 2 of this job's ranks, and GPUs for 1: .* --nproc-per-node 1, or"):
        leader.refuse(2, cuda=True)
    without = Leader(a_seat(0, 2), FakePost(), an_introduction(0), "p")
    with pytest.raises(UsageError, match="GPUs for 0: measure with --device cpu"):
        without.refuse(2, cuda=True)


def test_who_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "JOIN_WITHIN_S", 0.1)
    with pytest.raises(UsageError, match=r"3 of the job's 4 processes did not come .* \(rank 1, rank 2, rank 3\)"):
        Leader(a_seat(0, 4), FakePost(), an_introduction(0), "p").muster()


def test_who_is_ended_before_all_have_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "JOIN_WITHIN_S", 0.1)
    post = FakePost()
    heart.Heart(a_seat(3, 4), post, str).tell("rank 3 on node1 was told to end")
    with pytest.raises(JobLost, match="rank 3 on node1 was told to end"):
        Leader(a_seat(0, 4), post, an_introduction(0), "p").muster()


@pytest.mark.parametrize("missing", ["RANK", "MASTER_ADDR", "LOCAL_WORLD_SIZE"])
def test_a_job_is_known_by_torchruns_environment(missing: str) -> None:
    whole = {
        "TORCHELASTIC_RUN_ID": "7", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2",
        "MASTER_ADDR": "a", "MASTER_PORT": "5", "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    found = seat.seat_of(whole)
    assert found is not None
    assert (found.job, found.rank, found.size) == ("7/0", 1, 2)
    assert seat.seat_of({}) is None
    assert seat.seat_of(whole | {"WORLD_SIZE": "1"}) is None
    with pytest.raises(UsageError, match="start longbench with torchrun"):
        seat.seat_of({name: value for name, value in whole.items() if name != missing})
    with pytest.raises(UsageError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE"):
        seat.seat_of(whole | {"TORCHELASTIC_USE_AGENT_STORE": "False"})
