"""Implementations that installed packages bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from attention_impls.api import UnknownImplementation, get_implementation, implementations

PLUGIN = """
from attention_impls.api import Implementation
from attention_impls.distributed.vanilla_plan import PARALLEL

mine = Implementation(name="x", summary="", load=dict, defaults={"a": 1}, takes_backend=True, parallel=PARALLEL)
"""


def test_an_installed_package_brings_all_of_its_implementation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its options, how ranks share it: not only the function. Until it is asked for, nothing is imported."""
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    names = "mine = its_impls:mine\nvanilla = its_impls:mine\nbroken = no_such_module:mine\n"
    (info / "entry_points.txt").write_text(f"[longbench.impls]\n{names}")
    (tmp_path / "its_impls.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"mine", "broken", "vanilla"} <= implementations().keys()
    mine = get_implementation("mine")
    assert (mine.name, mine.defaults, mine.takes_backend) == ("mine", {"a": 1}, True)
    assert mine.parallel is not None
    assert get_implementation("vanilla").defaults == {"parallel": None}
    with pytest.raises(UnknownImplementation, match=r"implementation 'broken' \(no_such_module:mine\) does not import"):
        get_implementation("broken")
    with pytest.raises(UnknownImplementation, match=r"unknown implementation 'other': choose from .*mine"):
        get_implementation("other")
