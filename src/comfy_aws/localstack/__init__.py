"""The loopback cloud: one URL that speaks the AWS APIs this product uses.

`python -m comfy_aws.localstack --home DIR` runs it in the foreground; `comfy_aws.stack` starts,
finds and stops it. Nothing else imports this package.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

_EXTENSION: Final = Path(__file__).resolve().parents[3]


def how_to_install() -> str:
    """What to run, with the Python that runs this, when a package of the stack is missing."""
    here = (_EXTENSION / "pyproject.toml").is_file()
    wanted = f"{_EXTENSION}[local]" if here else "prompt-on-aws[local]"
    return f'Run: "{sys.executable}" -m pip install {"-e " if here else ""}"{wanted}"'
