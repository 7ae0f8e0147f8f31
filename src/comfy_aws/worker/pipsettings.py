"""Where packages come from: uv's settings for those of pip.

Standard library only: tools/bootstrap.py takes it, too, before anything is installed.
"""

from __future__ import annotations

import ast

FROM_PIP = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}
"""pip's option: uv's variable, and what stands between several values."""

PIP_SECTIONS = ("global", "install", ":env:")
"""Later ones count more."""


def from_pip(listing: str) -> dict[str, str]:
    """uv's variables for what ``pip config list`` prints."""
    values: dict[str, str] = {}
    for section in PIP_SECTIONS:
        for line in listing.splitlines():
            name, equals, value = line.partition("=")
            option = name.removeprefix(f"{section}.")
            if not equals or option == name or option not in FROM_PIP:
                continue
            variable, between = FROM_PIP[option]
            try:
                values[variable] = between.join(str(ast.literal_eval(value)).split())
            except (ValueError, SyntaxError):
                continue
    return values
