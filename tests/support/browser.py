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


def probed(page: Path, window: str) -> Any:
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
    return json.loads(found[1].replace("&lt;", "<"))


PAPER_PX = 718
"""Width of A4 without a browser's margins."""
_PAPER = """
<script>
addEventListener("load", () => {
  const out = [...document.querySelectorAll("table, section > *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => one.tagName + " " + one.className);
  parent.postMessage(JSON.stringify(out), "*");
});
</script>
"""
_SHEET = """
<iframe src="printed.html" style="border:0;width:{width}px;height:1000px"></iframe>
<script>
addEventListener("message", (told) => {{ document.body.innerHTML = "<pre id='probe'>" + told.data + "</pre>"; }});
</script>
"""


def too_wide_for_paper(page: Path) -> list[str]:
    """What of a page is cut off on paper, where nothing can be scrolled."""
    printed = (
        page.read_text(encoding="utf-8").replace("@media print", "@media all").replace("</body>", _PAPER + "</body>")
    )
    page.with_name("printed.html").write_text(printed, encoding="utf-8")
    sheet = page.with_name("sheet.html")
    sheet.write_text(_SHEET.format(width=PAPER_PX), encoding="utf-8")
    out: list[str] = probed(sheet, "1400,1100")
    return out
