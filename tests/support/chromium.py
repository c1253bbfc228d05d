"""A page in a real browser, with no network to reach."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path


def dump(html: str, folder: Path, *flags: str) -> str:
    """The document as the browser has it once its scripts have run."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert browser is not None  # conftest skips the marker without one
    page = folder / "report.html"
    page.write_text(html, encoding="utf-8")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=20000", "--window-size=1280,2400", *flags, "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def title(document: str) -> str:
    found = re.search(r"<title>(.*?)</title>", document, re.DOTALL)
    assert found is not None
    return unescape(found.group(1))


def without_policy(html: str) -> str:
    """The page without its content security policy: a second wall, which must not be the only one."""
    return re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
