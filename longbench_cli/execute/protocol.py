"""The words that a duet's driver and its workers exchange; both may be of another longbench than the other side's."""

from __future__ import annotations

from typing import Final

DUET_PROTOCOL: Final = 1
"""Rises when a worker of one number could not take turns under a driver of another."""
