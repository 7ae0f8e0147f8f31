"""Writes the list of files in AGENTS.md: a line a file, from the file's own first sentence.

python tools/agents.py [--check]
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AGENTS = ROOT / "AGENTS.md"
START = "<!-- files: written by tools/agents.py -->"
LISTED = ("*.py", "web/*.js", "web/*.mjs")
# What has no docstring, or whose docstring is for its users.
SAID = {
    "web/js/aws.css": "The panel's look, from ComfyUI's own CSS variables.",
    "web/js/settings.css": "The look of the page of settings.",
    "web/js/port.css": "Hides from artists what their server refuses.",
    "web/form/form.html": "The page that a template's form is drawn in.",
    "web/form/form.css": "The form's look: light and dark, from a phone to a wide screen.",
    "web/types/comfyui.d.ts": "Types of what the page takes from ComfyUI.",
    "web/types/aws.d.ts": "Types of the values that the page and the routes exchange.",
    "tests/functional/conftest.py": "One local stack for all tests of the services.",
    "docs/openapi.yaml": "The /aws routes; a test holds it against comfyui/routes/.",
    "tests/functional/worker_nodes.py.txt": "Node pack source for the worker's tests.",
}


def main(arguments: list[str]) -> int:
    text = AGENTS.read_text(encoding="utf-8")
    head, mark, _ = text.partition(START)
    if not mark:
        print(f"AGENTS.md has no line {START!r}.", file=sys.stderr)
        return 2
    wanted = f"{head}{START}\n\n{listing()}"
    if text == wanted:
        return 0
    if "--check" in arguments:
        print("AGENTS.md is not up to date: run python tools/agents.py", file=sys.stderr)
        return 1
    AGENTS.write_text(wanted, encoding="utf-8")
    return 0


def listing() -> str:
    """One heading a folder, one line a file."""
    lines: list[str] = []
    folder = None
    for path in sorted(files(), key=lambda path: (path.parent.as_posix(), path.name)):
        if path.parent != folder:
            folder = path.parent
            lines += ([""] if lines else []) + [
                f"### {folder.as_posix()}/".replace("./", "the top")
            ]
            lines.append("")
        lines.append(f"- `{path.name}` {sentence(path)}")
    return "\n".join(lines) + "\n"


def files() -> list[Path]:
    """The source files that git tracks, and those it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *LISTED]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {name for name in found.split("\0") if name and (ROOT / name).is_file()}
    return [Path(name) for name in names | set(SAID)]


def sentence(path: Path) -> str:
    """The first sentence of a file's own description."""
    if path.as_posix() in SAID:
        return SAID[path.as_posix()]
    source = (ROOT / path).read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(source)) or ""
    else:
        comment = re.search(r"/\*\*(.*?)\*/", source, re.DOTALL)
        text = re.sub(r"^\s*\*? ?", "", comment[1], flags=re.MULTILINE) if comment else ""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z*])", paragraph)[0]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
