"""What ComfyUI writes to its terminal is kept once, whole and in its order."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.comfy.comfyui_process import REPO_ROOT, comfyui_path

# ComfyUI's own logger takes the streams of a process over, so that this is one of its own.
SCRIPT = """
import json, logging, sys
from inspect import signature
sys.path[:0] = sys.argv[1:3]
from app.logger import setup_logger
newer = {"file_outputs": []} if "file_outputs" in signature(setup_logger).parameters else {}
setup_logger(capacity=20, **newer)
print("before")
from comfy_aws.comfyui.comfy_log import ComfyLog
kept = ComfyLog()
kept.install()
for number in range(3):
    print("same")
for number in range(100):
    print(f"printed {number}")
    if number % 5 == 4:
        logging.info("logged %d", number)
for step in range(30):
    sys.stderr.write(f"\\r{step} of 29")
    kept.ring.since(0)
sys.stderr.write("\\n")
print("after")
lines, count = kept.ring.since(0)
with open(sys.argv[3], "w") as file:
    json.dump([line.text for line in lines], file)
"""


def test_each_line_once_in_its_order_beyond_what_comfyui_keeps(tmp_path):
    places = [str(comfyui_path()), str(REPO_ROOT / "src"), str(tmp_path / "lines.json")]
    command = [sys.executable, "-c", SCRIPT, *places]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    lines = json.loads((tmp_path / "lines.json").read_text())
    printed = []
    for number in range(100):
        printed.append(f"printed {number}")
        if number % 5 == 4:
            printed.append(f"logged {number}")
    assert lines == ["before", "same", "same", "same", *printed, "29 of 29", "after"]
