"""Writes the roles' statements into deploy/stack.yaml, from src/comfy_aws/permissions.py.

.venv/bin/python tools/policies.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from comfy_aws.permissions import ROLES, Grant

TEMPLATE = Path(__file__).resolve().parents[1] / "deploy" / "stack.yaml"


def main() -> None:
    TEMPLATE.write_text(written(TEMPLATE.read_text()))


def written(template: str) -> str:
    """The template with the statements of every role between its marks."""
    for role, grants in ROLES.items():
        marks = re.compile(rf"^( *)# begin: {role}\n.*?^ *# end\n", re.MULTILINE | re.DOTALL)
        found = marks.search(template)
        if found is None:
            raise SystemExit(f"{TEMPLATE} has no mark for the role {role}.")
        indent = found[1]
        lines = [f"# begin: {role}", *(line for grant in grants for line in yaml(grant)), "# end"]
        text = "".join(f"{indent}{line}\n" for line in lines)
        template = template[: found.start()] + text + template[found.end() :]
    return template


def yaml(grant: Grant) -> list[str]:
    """One statement, its placeholders for CloudFormation to fill in."""
    statement = grant.statement()
    lines = [f"- Sid: {grant.sid}", "  Effect: Allow", "  Action:"]
    lines += [f"    - {action}" for action in grant.actions]
    lines.append("  Resource:")
    lines += [f"    - {scalar(resource)}" for resource in grant.resources]
    if "Condition" in statement:
        lines.append(f"  Condition: {json.dumps(statement['Condition'])}")
    return lines


def scalar(value: Any) -> str:
    return f"!Sub {value}" if "${" in value else json.dumps(value)


if __name__ == "__main__":
    main()
