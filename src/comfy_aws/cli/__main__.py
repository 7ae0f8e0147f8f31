"""`python -m comfy_aws.cli`: the command, where only the source is at hand."""

from __future__ import annotations

import sys

from comfy_aws.cli import main

if __name__ == "__main__":
    sys.exit(main())
