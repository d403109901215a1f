"""A page opened in a browser without a window, where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest


def probed(page: Path, window: str) -> dict[str, Any]:
    """What a script of the page leaves as JSON in `<pre id="probe">`; the window is `WIDTH,HEIGHT` in pixels."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to open the page in")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        command += ["--disable-background-networking", f"--user-data-dir={profile}", f"--window-size={window}"]
        command += ["--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
        shown = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True).stdout
    found = re.search(r'<pre id="probe">(.*?)</pre>', shown)
    assert found is not None, shown[-2000:]
    out: dict[str, Any] = json.loads(found[1].replace("&lt;", "<"))
    return out
