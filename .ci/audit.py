"""Known vulnerabilities in what constraints.txt pins, by pip-audit; `make audit`.

Ends with 1 if there is one. Where the service cannot be asked (no network, or a mirror that has only the
packages) it says so in one line and ends with 0: then nothing is known, which is no reason to stop work.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINS = Path(__file__).resolve().parent.parent / "constraints.txt"
_NONE_KNOWN = 0
_KNOWN = 1
_SHOWN = 5
_SECONDS = 300


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(PINS), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10", *sys.argv[1:]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return _say(f"not audited: no answer in {_SECONDS} s", _NONE_KNOWN)
    packages = _packages(done.stdout)
    if packages is None:
        words = done.stderr.strip().splitlines()
        if words and words[-1].endswith("No module named pip_audit"):
            return _say("pip-audit is not installed: pip install -c constraints.txt -e '.[dev]'", _KNOWN)
        return _say(f"not audited: {words[-1][:300] if words else 'pip-audit said nothing'}", _NONE_KNOWN)
    vulnerable = [(package, found) for package in packages for found in package.get("vulns", [])]
    for package, found in vulnerable:
        fixed = ", ".join(found.get("fix_versions", [])) or "no release yet"
        _say(f"{package['name']} {package['version']}: {found['id']}: fixed in {fixed}", _KNOWN)
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    asked = len(packages) - len(unknown)
    if vulnerable:
        return _KNOWN
    if not asked:
        return _say(f"not audited: the service knows none of the {len(packages)} packages", _NONE_KNOWN)
    more = ", ..." if len(unknown) > _SHOWN else ""
    left = f"; not known to the service: {', '.join(unknown[:_SHOWN])}{more}" if unknown else ""
    return _say(f"no known vulnerability in {asked} packages{left}", _NONE_KNOWN)


def _packages(output: str) -> list[dict[str, Any]] | None:
    """What pip-audit says of each package; None if it did not get as far."""
    try:
        found = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, list) and found else None


def _say(words: str, code: int) -> int:
    sys.stdout.write(f"audit: {words}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
