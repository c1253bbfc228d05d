"""Collects what each fault cost, and prints it as a table when the tests are over (``make faults``)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fault_table import FaultTable

_TABLE = pytest.StashKey[FaultTable]()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> FaultTable:
    """Where a test counts what it injected and what was lost, before it asserts that nothing was."""
    return request.config.stash.setdefault(_TABLE, FaultTable())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table; write it as Markdown to the file that FAULT_TABLE names."""
    table = config.stash.get(_TABLE, None)
    if table is None or not table.rows:
        return
    terminalreporter.section("faults")
    for line in table.text():
        terminalreporter.write_line(line)
    if target := os.environ.get("FAULT_TABLE"):
        Path(target).write_text(table.markdown(), encoding="utf-8")
