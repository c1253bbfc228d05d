"""Data files that ship with the product: profiles (TOML) and report assets.

In a checkout they lie at the top level; the wheel carries them inside this package.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """The folder ``profiles`` or ``reports``, installed or in a checkout."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
