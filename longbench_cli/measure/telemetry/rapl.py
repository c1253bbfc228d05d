"""Energy of the processors by RAPL, as Linux's powercap tells it.

Source: https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_ZONES = "sys/class/powercap"


@dataclass(slots=True)
class _Package:
    counter: Path
    range_uj: int
    last_uj: int
    total_uj: int = 0

    def advance(self) -> None:
        now = int(self.counter.read_text())
        moved = now - self.last_uj
        if moved < 0:  # it starts again at 0 after its range
            moved += self.range_uj
        if moved < 0:
            raise ValueError("the counter went backwards")
        self.total_uj += moved
        self.last_uj = now


class Rapl:
    """All processor packages.

    Raises:
        OSError: there are none, or this user may not read them.
        ValueError: a file does not hold a number.
    """

    def __init__(self, root: Path) -> None:
        zones = sorted((root / _ZONES).glob("intel-rapl:*"))
        packages = [zone for zone in zones if zone.name.count(":") == 1 and _is_package(zone)]
        if not packages:
            raise FileNotFoundError(f"no processor package in /{_ZONES}")
        self._packages = [
            _Package(
                zone / "energy_uj",
                int((zone / "max_energy_range_uj").read_text()),
                int((zone / "energy_uj").read_text()),
            )
            for zone in packages
        ]

    def joules(self) -> float:
        """Joules of all packages since this was made."""
        for package in self._packages:
            package.advance()
        return sum(package.total_uj for package in self._packages) / 1e6


def _is_package(zone: Path) -> bool:
    """``psys`` counts the whole machine, packages included."""
    return (zone / "name").read_text().strip().startswith("package")
