"""Which Python packages the node packs of a manifest need beyond the worker's own. Pure.

The worker's own packages are ComfyUI's: they are never replaced, neither by an older nor by a
newer version. Where a pack was captured with another version than the worker has, the worker's
own is used if the pack's own words allow it, with a warning; if they do not, the pack is broken.
What is optional breaks nothing: it gives way to the worker's own, and to what cannot be installed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
import sysconfig
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import distributions
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from comfy_aws.errors import PackBroken
from comfy_aws.models import NodePack
from comfy_aws.requirements import OPTIONAL, Line, allows, parse

FORMAT = 1
"""Of a built environment; a change builds all of them anew."""


@dataclass(frozen=True)
class Own:
    """One of the worker's own packages; `extras` maps an extra's name to what it needs."""

    name: str
    version: str
    extras: tuple[str, ...] = ()
    extra_needs: tuple[str, ...] = ()


class Attempt(NamedTuple):
    """Requirements, and constraints on what they need in turn."""

    requirements: tuple[str, ...]
    pins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What to install. `askers` tells which packs a package's canonical name comes from.

    `pins` are versions to take of what the packages need in turn.
    """

    lines: tuple[Line, ...] = ()
    options: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    askers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def packs(self) -> tuple[str, ...]:
        """Names of the packs that need something."""
        return tuple(sorted({pack for packs in self.askers.values() for pack in packs}))

    def attempts(self) -> list[Attempt]:
        """What to try, in this order: all as captured, then as the packs themselves ask."""
        wanted = tuple(line.wanted for line in self.lines)
        asked = tuple(line.asked for line in self.lines)
        attempts = [Attempt(wanted, self.pins), Attempt(wanted), Attempt(asked)]
        return list(dict.fromkeys(attempts))

    def optional_in(self, words: str) -> tuple[Line, ...]:
        """The optional lines that an installer's words are about."""
        spelled = re.sub(r"[-_.]+", "-", words).lower()
        return tuple(
            line
            for line in self.lines
            if line.is_optional
            and (
                re.search(rf"(?<![a-z0-9-]){re.escape(line.name)}(?![a-z0-9]|-[a-z])", spelled)
                if line.name
                else _address(line) in words
            )
        )

    def without(self, dropped: Collection[Line]) -> Plan:
        return replace(self, lines=tuple(line for line in self.lines if line not in dropped))


def own_packages() -> dict[str, Own]:
    """What the running Python has, by canonical name; the first on its path counts."""
    found: dict[str, Own] = {}
    for each in distributions():
        try:
            name, version = str(each.metadata["Name"]), str(Version(each.version))
        except (InvalidVersion, TypeError):
            continue
        extras = tuple(each.metadata.get_all("Provides-Extra") or ())
        needs = tuple(need for need in each.requires or () if "extra" in need) if extras else ()
        found.setdefault(canonicalize_name(name), Own(name, version, extras, needs))
    return found


def plan(packs: Sequence[NodePack], own: Mapping[str, Own]) -> Plan:
    """What these packs need that is not there.

    Raises:
        PackBroken: a pack does not go with a version of the worker's own.
    """
    lines: dict[tuple[str, str, bool], Line] = {}
    options: set[str] = set()
    warnings: list[str] = []
    askers: dict[str, set[str]] = {}
    for pack in packs:
        for text in pack.requirements:
            line = parse(text)
            if line.is_option:
                options.add(line.wanted)
                continue
            have = own.get(line.name)
            if have is not None and line.is_optional:
                continue
            if have is not None:
                warnings += _held_against(have, line, pack)
                if not _has_extras(line):
                    continue
                line = _of_own(have, line)
            lines.setdefault((line.wanted, line.asked, line.is_optional), line)
            askers.setdefault(line.name or line.wanted, set()).add(pack.name)
    sure = {line.name or line.wanted for line in lines.values() if not line.is_optional}
    wanted = (lines[key] for key in sorted(lines))
    return Plan(
        tuple(x for x in wanted if not x.is_optional or (x.name or x.wanted) not in sure),
        tuple(sorted(options)) if lines else (),
        _pins(packs, {*own, *askers}) if lines else (),
        tuple(dict.fromkeys(warnings)),
        {name: tuple(sorted(packs)) for name, packs in askers.items()},
    )


def key_of(chosen: Plan, own: Mapping[str, Own]) -> str:
    """Names an environment: the same packages for the same Python next to the same others."""
    what: dict[str, Any] = {
        "format": FORMAT,
        "lines": [
            [line.wanted, line.asked, *([OPTIONAL] if line.is_optional else ())]
            for line in chosen.lines
        ],
        "options": chosen.options,
        **({"pins": chosen.pins} if chosen.pins else {}),
        "python": [sys.implementation.cache_tag, *sys.version_info[:2]],
        "platform": [sysconfig.get_platform(), *platform.libc_ver()],
        "own": sorted(f"{name}=={each.version}" for name, each in own.items()),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _address(line: Line) -> str:
    return line.wanted.partition("#")[0].removeprefix("git+").removesuffix(".git")


def _pins(packs: Iterable[NodePack], decided: Collection[str]) -> tuple[str, ...]:
    """One version of each package not yet `decided`; none where packs have met different ones."""
    versions: dict[str, set[str]] = {}
    for pack in packs:
        for pin in pack.pins:
            versions.setdefault(pin.partition("==")[0], set()).add(pin)
    free = sorted(name for name in versions if name not in decided)
    return tuple(pin for name in free if len(versions[name]) == 1 for pin in versions[name])


def _held_against(have: Own, line: Line, pack: NodePack) -> list[str]:
    """What to tell when the worker's own package stands in for the one asked for."""
    if not allows(line, have.version):
        raise PackBroken(
            f"The node pack {pack.name} needs {line.asked}, and the worker has {have.name} "
            f"{have.version}, which belongs to its ComfyUI and is not replaced.",
            hint="Take a version of the pack that goes with it, or a worker image that has "
            "another version.",
        )
    wanted = Requirement(line.wanted)
    if wanted.url is None and wanted.specifier.contains(have.version, prereleases=True):
        return []
    used = f"the worker's own {have.name} {have.version} is used"
    return [f"{pack.name} was captured with {line.wanted}; {used}."]


def _has_extras(line: Line) -> bool:
    return bool(Requirement(line.wanted).extras)


def _of_own(have: Own, line: Line) -> Line:
    extras = ",".join(sorted(Requirement(line.wanted).extras))
    text = f"{have.name}[{extras}]=={have.version}"
    return Line(line.name, text, text)
