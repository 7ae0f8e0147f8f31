"""What the page's modules have to keep to, that no browser tells."""

from __future__ import annotations

import re
from pathlib import Path

WEB = Path(__file__).resolve().parents[2] / "web"
MAIN = (WEB / "js" / "main.js").read_text(encoding="utf-8")
MODULES = "".join(path.read_text(encoding="utf-8") for path in (WEB / "js").rglob("*.mjs"))


def test_comfyui_waits_for_one_file_only() -> None:
    """Its page is not ready before every .js below the folder, and what that imports, is there."""
    assert [path.name for path in WEB.rglob("*.js")] == ["main.js"]
    assert re.findall(r"^import .*", MAIN, re.MULTILINE) == []


def test_every_event_is_heard_before_the_modules_are_there() -> None:
    events = re.search(r"const EVENTS = \[(.*)\]", MAIN)
    assert events
    heard = set(re.findall(r"\.on\('(aws\.\w+)'", MODULES))
    assert heard
    assert set(re.findall(r"'([^']+)'", events[1])) == heard
