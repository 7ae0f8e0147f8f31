"""Tells what a prompt needs, by the nodes of the ComfyUI in a folder: `comfy-aws deps`.

Runs as a process of its own in that ComfyUI's Python, and loads its nodes as its main.py does,
because only a node itself can say what its inputs mean. It serves nothing, and runs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comfy_aws.errors import ComfyAwsError, ConfigError
from comfy_aws.hashcache import HashCache
from comfy_aws.models import Json


def main(argv: Sequence[str] | None = None) -> int:
    """Write the answer, or ``{"error": …}``, into a file: packs print what they like."""
    parser = argparse.ArgumentParser(prog="comfy_aws.comfyui.deps")
    parser.add_argument("comfyui", type=Path)
    parser.add_argument("prompt", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    chosen = parser.parse_args(argv)
    try:
        prompt = json.loads(chosen.prompt.read_text(encoding="utf-8"))
        _load_nodes(chosen.comfyui, chosen.arguments)
        answer = _needs_of(prompt)
    except ComfyAwsError as exc:
        answer = {"error": exc.to_dict()}
    chosen.answer.write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _load_nodes(comfyui: Path, arguments: list[str]) -> None:
    """Import ComfyUI with its packs. Raises ConfigError when the folder has none."""
    main_file = comfyui / "main.py"
    if not main_file.is_file():
        raise ConfigError(f"There is no ComfyUI in {comfyui}: main.py is missing.")
    sys.argv = [str(main_file), *arguments]
    sys.path.insert(0, str(comfyui))
    os.chdir(comfyui)
    importlib.import_module("main")  # reads the arguments, extra paths and prestartup scripts
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    args: Any = importlib.import_module("comfy.cli_args").args
    importlib.import_module("server").PromptServer(loop)  # packs add their routes to it
    nodes: Any = importlib.import_module("nodes")
    loop.run_until_complete(
        nodes.init_extra_nodes(
            init_custom_nodes=not args.disable_all_custom_nodes,
            init_api_nodes=not args.disable_api_nodes,
        )
    )


def _needs_of(prompt: object) -> Json:
    import folder_paths

    from comfy_aws import preflight
    from comfy_aws import prompt as graphs
    from comfy_aws.capture import Capturer
    from comfy_aws.comfyui.catalog import ComfyUICatalog
    from comfy_aws.readlog import READS, ReadLog

    graph = graphs.check_prompt(prompt)
    state = Path(folder_paths.get_user_directory(), "comfy-aws")
    cache, reads = HashCache(state / "hashes.sqlite"), ReadLog(state / READS)
    try:
        with tempfile.TemporaryDirectory(prefix="comfy-aws-deps-") as spool:
            capturer = Capturer(ComfyUICatalog(reads), cache, Path(spool))
            capture = capturer.capture(graph, is_present=lambda ref: False)
            return preflight.needs(capture)
    finally:
        cache.close()
        reads.close()


if __name__ == "__main__":
    # Threads that packs have started must not keep a finished command alive.
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
