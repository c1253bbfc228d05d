"""``longbench list``."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from longbench_cli import app, resources
from longbench_cli.resources import data_dir


@pytest.fixture
def listed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``listed("impls", "--json")``: what it prints; it must exit with 0."""

    def call(*words: str) -> str:
        with pytest.raises(SystemExit) as leaving:
            app.main(["list", *words])
        printed = capsys.readouterr()
        assert (leaving.value.code, printed.err) == (0, "")
        return printed.out

    return call


def rows_by_name(text: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(text)}


def test_impls_come_with_their_summary_and_options(listed: Callable[..., str]) -> None:
    rows = rows_by_name(listed("impls", "--json"))
    assert {"vanilla", "dilated"} <= rows.keys()
    assert rows["dilated"]["options"]["schedule"] == "geometric"
    assert rows["sparse"]["options"]["stride"] is None
    text = listed("impls")
    for name, row in rows.items():
        assert any(line.startswith(name) and str(row["summary"]) in line for line in text.splitlines())
    (sparse,) = (line.split() for line in text.splitlines() if line.startswith("sparse "))
    assert {"pattern=strided", "stride", "columns", "match_flops"} <= set(sparse)


def test_an_installed_package_adds_an_implementation(longbench: Callable[..., Any], tmp_path: Path) -> None:
    info = tmp_path / "site" / "plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[longbench.impls]\nmine = plugin:attention\n")
    done = longbench("list", "impls", "--json", env={"PYTHONPATH": str(tmp_path / "site")})
    assert rows_by_name(done.stdout)["mine"]["summary"] == "from plugin:attention"


def test_backends_say_where_they_run_and_why_not(listed: Callable[..., str]) -> None:
    rows = json.loads(listed("backends", "--json"))
    cpu = {row["name"]: row for row in rows if row["device"] == "cpu"}
    assert cpu["math"]["available"]
    assert cpu["sdpa-flash"]["why_not"] is None
    for row in rows:
        assert row["available"] == (row["why_not"] is None)
        if row["device"] == "cuda" and not torch.cuda.is_available():
            assert not row["available"]


def test_profiles_are_those_that_ship_with_a_description_each(listed: Callable[..., str]) -> None:
    rows = rows_by_name(listed("profiles", "--json"))
    shipped = {path.stem: tomllib.loads(path.read_text()) for path in data_dir("profiles").glob("*.toml")}
    assert {"quick", "paper-runtime", "paper-lm", "ci"} <= rows.keys()
    assert {name: row["description"] for name, row in rows.items()} == {
        name: profile["description"] for name, profile in shipped.items()
    }


def test_a_broken_profile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text("seq = [")
    monkeypatch.setattr(resources, "data_dir", lambda _name: tmp_path)
    with pytest.raises(SystemExit) as leaving:
        app.main(["list", "profiles"])
    assert leaving.value.code == 2
    err = capsys.readouterr().err
    assert str(tmp_path / "mine.toml") in err
    assert err.count("\n") == 1


def test_devices_always_hold_the_processor(listed: Callable[..., str]) -> None:
    cpu, *gpus = json.loads(listed("devices", "--json"))
    assert (cpu["device"], cpu["usable"]) == ("cpu", True)
    assert cpu["memory_bytes"] == psutil.virtual_memory().total
    assert len([gpu for gpu in gpus if gpu["usable"]]) == (torch.cuda.device_count() if gpus else 0)
    assert f"{cpu['memory_bytes'] / 2**30:.1f} GiB" in listed("devices")
