"""``--noise DIR``: of which points, of which machine, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from compared import duet_of, planned
from sample_runs import write_run

from longbench_cli.commands.compare_sides import KnownNoise, load_noise
from longbench_cli.errors import UsageError
from longbench_cli.record.journal import Run

LONG, SHORT = planned(4096).key, planned(512).key


def aa_in(folder: Path, **environment: object) -> KnownNoise:
    draw = random.Random(1)
    sides = duet_of([draw.gauss(0, 0.01) for _ in range(6)], planned(512), identical=True)
    for name, run in zip(("base", "candidate"), sides, strict=True):
        header = run.header.model_copy(update={"environment": run.header.environment | environment})
        write_run(Run(Path(f"{name}.jsonl"), header, run.points), folder)
    known = load_noise(folder)
    assert known is not None
    return known


def test_noise_is_known_point_by_point_and_what_it_does_not_know_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = aa_in(tmp_path)
    assert known.of({SHORT: "cpu"}, known.header) == {SHORT: pytest.approx(0.01, rel=0.7)}
    assert capsys.readouterr().err == ""
    assert list(known.of({SHORT: "cpu", LONG: "cpu"}, known.header)) == [SHORT]
    assert f"knows 1 of 2 points, and not {LONG}" in capsys.readouterr().err


def test_noise_of_other_points_or_of_another_machine_is_refused(tmp_path: Path) -> None:
    known = aa_in(tmp_path)
    with pytest.raises(UsageError, match="has none of these points"):
        known.of({LONG: "cpu"}, known.header)
    here = known.header.model_copy(update={"environment": known.header.environment | {"cpu": "Another CPU"}})
    with pytest.raises(UsageError, match=r"another machine .cpu: Example CPU at 2\.10 GHz there, Another CPU here"):
        known.of({SHORT: "cpu"}, here)
