"""Every language says everything that English does: panel, commands, nodes and help pages."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("ja", "zh")
LANGUAGES = ("en", *OTHERS)
HELP = ROOT / "web" / "docs"
MAIN = (ROOT / "web" / "js" / "main.js").read_text(encoding="utf-8")

PLACEHOLDER = re.compile(r"\{\w+\}")
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
LATIN_PUNCTUATION = re.compile(r"(?<=[\u3040-\u30ff\u3400-\u9fff])\s?[,;:?!](?:\s|$)")
# Forms that only languages with a singular have.
SINGULAR = ".one"
# Names, which are the same everywhere, and patterns without words.
SAME = {
    "title", "status.aws", "toggle.label", "templates.version", "settings.target.aws", "name.ok",
    "inputs.keys", "models.meta", "runButton.aws", "name.character.quoted",
    "form.type.option", "form.type.option.unpriced", "jobs.phase", "jobs.moreResults",
}  # fmt: skip


@cache
def strings(language: str) -> dict[str, str]:
    """What the page itself reads: the file's only export."""
    url = (ROOT / "web" / "js" / "strings" / f"{language}.mjs").as_uri()
    script = f"console.log(JSON.stringify(Object.values(await import('{url}'))[0]))"
    command = ["node", "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    else:
        yield path, value


@cache
def locale(language: str) -> dict[str, str]:
    """Every text of the files that ComfyUI reads, by file and path."""
    return {
        path: text
        for file in sorted((ROOT / "locales" / language).iterdir())
        for path, text in leaves(json.loads(file.read_text(encoding="utf-8")), file.name)
    }


@pytest.mark.parametrize("language", OTHERS)
def test_the_panel_says_the_same_things_in_every_language(language: str) -> None:
    english, other = strings("en"), strings(language)
    singular = {key for key in english if key.endswith(SINGULAR)}
    assert english.keys() - other.keys() - singular == set()
    assert other.keys() - english.keys() == set()
    fills = {key: sorted(PLACEHOLDER.findall(text)) for key, text in english.items()}
    wrong = {key for key, text in other.items() if sorted(PLACEHOLDER.findall(text)) != fills[key]}
    assert wrong == set()


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_is_left_in_english(language: str) -> None:
    english, other = strings("en"), strings(language)
    unwritten = {
        key
        for key, text in other.items()
        if not text.strip() or (text == english[key] and key not in SAME)
    }
    assert unwritten == set()
    # A text with words has them in its own script; {done}/{total} has none.
    foreign = {
        key
        for key, text in other.items()
        if key not in SAME
        and re.search(r"[A-Za-z]", PLACEHOLDER.sub("", english[key]))
        and not CJK.search(text)
        and re.search(r"[A-Za-z]", PLACEHOLDER.sub("", text))
    }
    assert foreign == set()
    assert {key for key, text in other.items() if LATIN_PUNCTUATION.search(text)} == set()


def test_each_singular_stands_beside_its_plural() -> None:
    english = strings("en")
    lonely = {key for key in english if key.endswith(SINGULAR)} - {
        f"{key}{SINGULAR}" for key, text in english.items() if "{count}" in text
    }
    assert lonely == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_comfyui_reads_is_the_same_in_every_language(language: str) -> None:
    texts = locale(language)
    assert texts.keys() == locale("en").keys()
    assert {path for path, text in texts.items() if not text.strip()} == set()


def test_what_comfyui_translates_is_there() -> None:
    commands = re.findall(r"\bid: '(PromptOnAws\.\w+)',\s+label: '([^']+)'", MAIN)
    assert len(commands) == MAIN.count("id: 'PromptOnAws.")
    named = json.loads((ROOT / "locales" / "en" / "commands.json").read_text(encoding="utf-8"))
    assert {name.replace(".", "_"): {"label": label} for name, label in commands}.items() <= (
        named.items()
    )
    registered = re.findall(
        r'"(\w+)": Aws', (ROOT / "nodes" / "__init__.py").read_text(encoding="utf-8")
    )
    assert registered
    nodes = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert nodes.keys() == set(registered)
    for node in registered:
        pages = [HELP / f"{node}.md", *(HELP / node / f"{each}.md" for each in OTHERS)]
        assert [page for page in pages if not page.is_file()] == []


def test_what_is_said_before_the_words_are_there_is_in_every_language() -> None:
    block = MAIN.partition("const WORDS = {")[2].partition("}")[0]
    assert set(re.findall(r"^  (\w+): \[", block, re.MULTILINE)) == set(LANGUAGES)
