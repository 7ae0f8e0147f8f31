"""README and docs/ tell what is so: generated parts are up to date, commands and words exist."""

from __future__ import annotations

import re
import shlex

import pytest

from comfy_aws import cli, config
from tests.support.documents import DOCUMENTS, ROOT, blocks_of, commands_of
from tools import reference

# Blocks that another test reads.
ELSEWHERE = {"docs/programs.md": ("python", "sh")}  # tests/unit/test_program_guide.py
READMES = ("README.md", "README.ja.md", "README.zh.md")


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def test_what_is_written_from_the_source_is_up_to_date() -> None:
    """Run `make docs` when this fails."""
    stale = [path.name for path, text in reference.written().items() if text != path.read_text()]
    assert stale == []


def test_every_document_is_read_by_these_tests() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    assert found | {"README.md", "CONTRIBUTING.md"} <= set(DOCUMENTS)
    assert {path.name for path in ROOT.glob("README*.md")} == set(READMES)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        path, _, anchor = target.partition("#")
        if path.startswith(("http:", "https:")):
            continue
        where = folder / path if path else ROOT / document
        assert where.exists(), target
        if anchor and where.suffix == ".md":
            heads = re.findall(r"^#+ (.+)$", where.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads}
            assert anchor in anchors, target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_are_understood(document: str) -> None:
    """Those in blocks are run, too: tests/functional/test_docs.py and test_user_guide.py."""
    for command in commands_of(document):
        words = shlex.split(command)
        if words[0] == "comfy-aws":
            assert cli._parser().parse_args(words[1:]).run, command
    known = {" ".join(each.words) for each in reference.commands()}
    topics = {words.split()[0] for words in known}
    for mention in re.findall(r"`comfy-aws ([a-z][^`]*)`", text_of(document)):
        words = [word for word in mention.split() if re.fullmatch("[a-z-]+", word)]
        assert words[0] in topics, mention
        assert words[0] in known or len(words) < 2 or " ".join(words[:2]) in known, mention


@pytest.mark.parametrize("document", DOCUMENTS)
def test_shell_commands_stand_in_blocks_that_are_run(document: str) -> None:
    for language, text in blocks_of(document):
        known = ("console", "mermaid", *ELSEWHERE.get(document, ()))
        assert language in known, f"a block of {language!r} is run by no test"
        if language == "console":
            assert all(line.startswith("$ ") for line in text.splitlines()), text


def test_every_variable_is_in_the_readme() -> None:
    variables = {name for names in config.VARIABLES.values() for name in names}
    variables -= {"AWS_DEFAULT_REGION"}
    for readme in READMES:
        named = set(re.findall(r"`([A-Z][A-Z_]+)`", text_of(readme)))
        assert variables <= named, readme
        settings = set(re.findall(r"`([a-z_]+)`", text_of(readme)))
        assert set(config.VARIABLES) <= settings, readme


def test_symptoms_are_words_of_the_product() -> None:
    """What the README says that one sees is said by the source, or by ComfyUI."""
    sources = [*(ROOT / "src").rglob("*.py"), ROOT / "__init__.py", *(ROOT / "web").rglob("*.mjs")]
    said = " ".join(" ".join(path.read_text().split()) for path in sources)
    said = said.replace('" f"', "").replace('" "', "").replace("' + '", "") + " (IMPORT FAILED)"
    section = text_of("README.md").partition("## When something goes wrong")[2]
    quotes = re.findall(r"\*([^*]+)\*", section)
    assert len(quotes) > 6
    for quote in quotes:
        assert quote.strip("… ") in said, quote


@pytest.mark.parametrize("readme", READMES)
def test_readmes_have_the_same_contents(readme: str) -> None:
    """Translations have the same commands, pictures, settings and as many sections and rows."""

    def shape(document: str) -> dict[str, object]:
        text = text_of(document)
        return {
            "commands": commands_of(document),
            # The panel is shown in the language of the text.
            "pictures": re.findall(
                r"!\[[^\]]*\]\(([^)]+)\)", re.sub("panel-(ja|zh)", "panel", text)
            ),
            "sections": len(re.findall(r"^## ", text, re.MULTILINE)),
            "rows": len(re.findall(r"^\|", text, re.MULTILINE)),
            "topics": re.findall(r"^\| `comfy-aws ([a-z-]+)`", text, re.MULTILINE),
        }

    assert shape(readme) == shape("README.md")
    others = set(READMES) - {readme}
    assert all(f"]({other})" in text_of(readme).split("\n## ")[0] for other in others)
