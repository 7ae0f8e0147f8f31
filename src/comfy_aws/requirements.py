"""The Python packages a node pack asks for, at the versions it runs with on this machine.

Read from the pack's `requirements.txt` and from `[project] dependencies` of its `pyproject.toml`.
The answer is lines of a requirements file. What is installed here is pinned, because these are
the versions the pack is known to run with; what the pack itself asked for stands behind the pin,
so that a machine with another version can tell whether that one will do:

    numpy==2.1.0  # numpy>=1.26
    cowsay>=6  # (optional)            not installed here: the pack's own words
    webcolors==25.10.0  # (optional)   installed here, and imported without being asked for
    nunchaku @ https://…  # nunchaku==1.0.1  # (optional)   the same, from no index
    clip @ git+https://…@{commit}      installed here from a repository
    git+https://…/clip.git             verbatim
    --extra-index-url https://…        verbatim

What is optional is installed where that is possible. A pack that runs here runs without what is
missing here, and much of what packs name cannot be had: misspelled, gone, or for other systems.
Others come by a script of the pack's own or by hand, and only its imports tell of them.

Markers are evaluated for the worker, which runs Linux on x86-64 whatever this machine is.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from comfy_aws import distributions, joblog

WORKER_MARKERS: Final = {
    "os_name": "posix", "platform_machine": "x86_64", "platform_system": "Linux",
    "sys_platform": "linux",
}  # fmt: skip

INCLUDES: Final = re.compile(r"(?:-r|--requirement)[\s=]*(\S+)")
INDEXES: Final = re.compile(r"(?:-i|--index-url|--extra-index-url)[\s=]+(\S+)")
FIND_LINKS: Final = re.compile(r"(?:-f|--find-links)[\s=]+(https?://\S+)")
EDITABLE: Final = re.compile(r"(?:-e|--editable)[\s=]+(\S.*)")
COMMENT: Final = re.compile(r"(^|\s+)#.*$")
SPLIT: Final = re.compile(r"\s+#\s*")
LINE_OPTIONS: Final = re.compile(r"\s--?[a-z].*$")
URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://\S+")
OPTIONAL: Final = "(optional)"
WHEELS: Final = re.compile(r"(many|musl)?linux.*_x86_64")
"""Platforms of wheels that the worker can have."""

DEEPEST_INCLUDE: Final = 8
"""Files that include each other in a circle end here."""

log = joblog.logger(__name__)


@dataclass(frozen=True)
class Installed:
    """A distribution as it is installed.

    `source` is how it can be had again when not by its version: a direct reference, "." when
    its source is a folder of this machine, or empty.
    """

    version: str
    source: str = ""


@dataclass(frozen=True)
class Line:
    """A line taken apart. `name` is canonical, and empty for an option or a bare URL."""

    name: str
    wanted: str
    asked: str
    is_optional: bool = False

    @property
    def is_option(self) -> bool:
        return self.wanted.startswith("-")


Look = Callable[[str], Installed | None]
Needs = Callable[[str], Iterable[str]]
Pins = tuple[str, ...]


def of_pack(
    pack: Path, look: Look | None = None, imports: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """The lines of a pack, which is a folder or a single file; sorted, one for each package.

    Args:
        look: what is installed under a name; the running Python's own packages by default.
        imports: names of modules that the pack imports, see `distributions.imported`.
    """
    look = look or installed
    declared = _declared(pack, look) if pack.is_dir() else ()
    if not imports:
        return declared
    known = {line.name for line in map(parse, declared)}
    more = (_undeclared(name, version) for name, version in distributions.imported(imports, known))
    return (*declared, *more)


def _undeclared(name: str, version: str) -> str:
    """A package's line, by where it came from when that is no index: those know others."""
    pinned = f"{name}=={Version(version).public}"
    found = installed(name)
    if found is None or found.source in {"", "."} or not _suits_worker(found.source):
        return f"{pinned}  # {OPTIONAL}"
    return f"{name} @ {found.source}  # {pinned}  # {OPTIONAL}"


def _suits_worker(source: str) -> bool:
    """Whether a direct reference is no wheel of another system than the worker's."""
    file = unquote(urlsplit(source).path.rpartition("/")[2])
    if not file.endswith(".whl"):
        return True
    try:
        tags = parse_wheel_filename(file)[3]
    except InvalidWheelFilename:
        return False
    return any(tag.platform == "any" or WHEELS.fullmatch(tag.platform) for tag in tags)


def _declared(pack: Path, look: Look) -> tuple[str, ...]:
    merged: dict[str, Requirement] = {}
    verbatim: set[str] = set()
    frozen: set[str] = set()
    for text in (*_lines(pack / "requirements.txt", pack), *_dependencies(pack)):
        if text.startswith("--") or URL.match(text):
            verbatim.add(text)
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement as exc:
            log.warning("%s asks for %r, which is no requirement: %s", pack.name, text, exc)
            continue
        if requirement.marker is None or _applies(requirement):
            requirement.marker = None
            if (requirement.url or "").startswith("file:"):
                # As conda's Python freezes its packages: built elsewhere, had by version as well.
                requirement.url = None
                frozen.add(canonicalize_name(requirement.name))
            _merge(merged, requirement)
    resolved: dict[str, str] = {}
    for name, asked in sorted(merged.items()):
        here = name if look(name) else next(filter(look, distributions.variants(name)), name)
        if here != name:
            if here in merged:
                continue
            asked.name = here
        found = look(here)
        if found is not None and found.source == "." and name in frozen:
            found = Installed(found.version)
        resolved[here] = _resolved(asked, found)
    lines = (resolved[name] for name in sorted(resolved))
    return (*lines, *(_by_address(line) for line in sorted(verbatim)))


def _by_address(line: str) -> str:
    """An index, or the address of a package whose name is not told."""
    if line.startswith("--"):
        return line
    name = distributions.from_address(line)
    found = installed(name) if name else None
    if found is None or not found.source:
        return f"{line}  # {OPTIONAL}"
    return f"{name} @ {found.source}"


def below(lines: Iterable[str], look: Look | None = None, needs: Needs | None = None) -> Pins:
    """What the packages of these lines need in turn, as ``name==version`` of what is here.

    An installer would take the newest of each, which the pack may never have met. What is not
    installed here, or not by version, is left out.

    Args:
        needs: the requirements of an installed package; those of the running Python's by default.
    """
    names = tuple(sorted({line.name for line in map(parse, lines) if line.name}))
    if look is None and needs is None:
        return _below_here(names)
    return _below(names, look or installed, needs or required)


@lru_cache(maxsize=256)  # what is installed changes with a restart, and the walk takes a while
def _below_here(names: tuple[str, ...]) -> Pins:
    return _below(names, installed, required)


def _below(names: tuple[str, ...], look: Look, needs: Needs) -> Pins:
    pins: dict[str, str] = {}
    waiting, seen = list(names), set(names)
    while waiting:
        name = waiting.pop()
        for text in needs(name):
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            other = canonicalize_name(requirement.name)
            found = look(other)
            if other in seen or found is None or not _applies(requirement):
                continue
            seen.add(other)
            waiting.append(other)
            if not found.source:
                pins[other] = f"{other}=={Version(found.version).public}"
    return tuple(pins[name] for name in sorted(pins))


def parse(line: str) -> Line:
    """Take apart a line that `of_pack` made."""
    wanted, *more = (part.strip() for part in SPLIT.split(line))
    is_optional = OPTIONAL in more
    asked = next((part for part in more if part != OPTIONAL), wanted)
    name = ""
    if not wanted.startswith("-"):
        with suppress(InvalidRequirement):
            name = canonicalize_name(Requirement(wanted).name)
    return Line(name, wanted, asked, is_optional)


def masked(line: str) -> str:
    """Without the credentials that the address of an index or a repository may hold."""
    return re.sub(r"://[^/\s@]+@", "://***@", line)


def allows(line: Line, version: str) -> bool:
    """Whether a package at `version` does what the line asks for."""
    try:
        asked, wanted, found = Requirement(line.asked), Requirement(line.wanted), Version(version)
    except (InvalidRequirement, InvalidVersion):
        return False
    if asked.url:  # asked for by address alone, so nothing is known of its versions
        return True
    return any(
        each.specifier.contains(found, prereleases=True) and not each.url
        for each in (asked, wanted)
    )


@lru_cache(maxsize=2048)  # every job asks, and what is installed changes with a restart
def installed(name: str) -> Installed | None:
    """What the running Python has under a name."""
    try:
        found = distribution(name)
        version = str(Version(found.version))
        source = found.read_text("direct_url.json")
    except (PackageNotFoundError, InvalidVersion, TypeError, OSError):
        return None
    return Installed(version, _source(source) if source else "")


def required(name: str) -> Iterable[str]:
    """What an installed package of the running Python needs, extras left out."""
    try:
        return distribution(name).requires or ()
    except (PackageNotFoundError, OSError):
        return ()


def _source(text: str) -> str:
    """A direct reference from PEP 610's direct_url.json."""
    try:
        told: dict[str, Any] = json.loads(text)
        url = str(told["url"])
    except (ValueError, KeyError, TypeError):
        return ""
    if "dir_info" in told or url.startswith("file:"):
        return "."
    vcs = told.get("vcs_info")
    return f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url


def _resolved(asked: Requirement, found: Installed | None) -> str:
    own = str(asked)
    if found is None:
        return f"{own}  # {OPTIONAL}"
    if found.source == ".":
        return own
    name = asked.name + (f"[{','.join(sorted(asked.extras))}]" if asked.extras else "")
    version = Version(found.version)
    if found.source:
        pinned = f"{name} @ {found.source}"
    elif asked.url:  # installed by version here although asked for by address: both will do
        return own
    else:
        pinned = f"{name}=={version.public}"
    if not asked.specifier.contains(version, prereleases=True):
        own = name  # it runs here all the same, so its words are too strict
    return pinned if own == pinned else f"{pinned}  # {own}"


def _merge(merged: dict[str, Requirement], new: Requirement) -> None:
    name = canonicalize_name(new.name)
    known = merged.setdefault(name, new)
    if known is not new:
        known.extras |= new.extras
        known.url = known.url or new.url
        known.specifier = SpecifierSet() if known.url else known.specifier & new.specifier


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(
        {**WORKER_MARKERS, "extra": ""}
    )


def _dependencies(pack: Path) -> list[str]:
    try:
        project = _toml((pack / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        lines = project.get("dependencies", [])
        return [line.strip() for line in lines if isinstance(line, str)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError, TypeError) as exc:
        log.warning("The pyproject.toml of %s cannot be read: %s", pack.name, exc)
        return []


def _toml(text: str) -> dict[str, Any]:
    # Python has tomllib since 3.11; before, pip brings the same code.
    for name in ("tomllib", "tomli", "pip._vendor.tomli"):
        try:
            parser = importlib.import_module(name)
        except ImportError:
            continue
        parsed: dict[str, Any] = parser.loads(text)
        return parsed
    raise ValueError("this Python has no reader for TOML")


def _lines(path: Path, pack: Path, depth: int = 0) -> Iterator[str]:
    """The requirements in a file and in the files it includes below the pack."""
    inside = path.resolve().is_relative_to(pack.resolve())
    if depth > DEEPEST_INCLUDE or not inside or not path.is_file():
        if depth:
            log.warning("%s includes %s, which is not in the pack.", pack.name, path.name)
        return
    for line in _logical(_decoded(path.read_bytes())):
        include = INCLUDES.fullmatch(line)
        if include:
            yield from _lines(path.parent / include[1], pack, depth + 1)
        else:
            yield from _entry(line, pack)


def _entry(line: str, pack: Path) -> Iterator[str]:
    """What one line asks for, in one of the forms of this module."""
    index, links, editable = (form.match(line) for form in (INDEXES, FIND_LINKS, EDITABLE))
    if index or links:
        # The worker's own index stays its first.
        yield f"--extra-index-url {index[1]}" if index else f"--find-links {links[1]}"  # type: ignore[index]
        return
    line = editable[1] if editable else line
    if line.startswith("-"):
        return  # how to install, not what
    line = LINE_OPTIONS.sub("", line)
    if line.startswith((".", "/", "file:")) or (line.endswith(".whl") and "://" not in line):
        log.warning("%s asks for the local file %s, which stays out.", pack.name, line)
        return
    egg = re.search(r"#(?:.*&)?egg=([A-Za-z0-9._-]+)", line) if URL.match(line) else None
    yield f"{egg[1]} @ {line}" if egg else line


def _logical(text: str) -> Iterable[str]:
    for raw in text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
        line = COMMENT.sub("", raw).strip()
        if line:
            yield line


def _decoded(raw: bytes) -> str:
    """Windows' own editors write UTF-16 and byte order marks."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace")
    return raw.decode("utf-8-sig", errors="replace")
