"""Puts the test pipeline into a ComfyUI base directory, and gives its prompt and workflow.

The pipeline is a small but true diffusion: image → TAESD latent → 12 euler steps of a two-block
SD3 → TAESD → PNG of 128 × 128 pixels, with conditioning from a node pack of its own. It takes
about a second on two CPU cores.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PIPELINE = Path(__file__).resolve().parent
NODE_PACK = "tiny_conditioning"
INPUT_IMAGE = "tiny_input.png"
MODELS = (
    "diffusion_models/tiny_sd3.safetensors",
    "vae_approx/taesd3_encoder.safetensors",
    "vae_approx/taesd3_decoder.safetensors",
)

# Node ids of prompt.json that tests refer to.
LOAD_ID, CONDITIONING_ID, SAMPLER_ID, DECODE_ID, SAVE_ID = "3", "4", "7", "8", "9"
STEPS = 12

_CACHE = PIPELINE.parents[1] / ".bootstrap" / "pipeline"
_MAKE_MODELS = PIPELINE / "make_models.py"


def install(base_dir: Path) -> None:
    """Adds models, input image and node pack to `base_dir`; what is there already stays."""
    install_models(base_dir)
    install_input(base_dir)
    install_node_pack(base_dir)


def install_models(base_dir: Path) -> None:
    made = _made_models()
    for name in MODELS:
        target = base_dir / "models" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made / name, target)


def install_input(base_dir: Path) -> None:
    folder = base_dir / "input"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PIPELINE / "input" / INPUT_IMAGE, folder / INPUT_IMAGE)


def install_node_pack(base_dir: Path) -> None:
    shutil.copytree(
        PIPELINE / "node_packs" / NODE_PACK,
        base_dir / "custom_nodes" / NODE_PACK,
        ignore=shutil.ignore_patterns("__pycache__"),
        dirs_exist_ok=True,
    )


def load_prompt(*, seed: int | None = None, steps: int | None = None) -> dict[str, Any]:
    """The graph in API format; `seed` and `steps` replace the sampler's."""
    prompt: dict[str, Any] = json.loads((PIPELINE / "prompt.json").read_text())
    sampler = prompt[SAMPLER_ID]["inputs"]
    if seed is not None:
        sampler["seed"] = seed
    if steps is not None:
        sampler["steps"] = steps
    return prompt


def load_workflow() -> dict[str, Any]:
    """The same graph as the page saves it."""
    workflow: dict[str, Any] = json.loads((PIPELINE / "workflow.json").read_text())
    return workflow


def load_crowded() -> tuple[dict[str, Any], dict[str, Any]]:
    """Nodes of the prompt and a workflow with the pipeline's last nodes in each of three subgraphs.

    Two of the subgraphs are called the same, Day, and one Night.
    """
    prompt, nodes = load_prompt(), {}
    for place in ("20", "21", "22"):
        for node_id in (SAMPLER_ID, DECODE_ID, SAVE_ID):
            inputs = {
                name: [f"{place}:{value[0]}", value[1]] if name in ("samples", "images") else value
                for name, value in prompt[node_id]["inputs"].items()
            }
            nodes[f"{place}:{node_id}"] = {**prompt[node_id], "inputs": inputs}
    workflow = load_workflow()
    workflow["nodes"] += [
        {"id": 20, "type": "look"}, {"id": 21, "type": "look"},
        {"id": 22, "type": "look", "title": "Night"},
    ]  # fmt: skip
    workflow["definitions"] = {"subgraphs": [{"id": "look", "name": "Day", "nodes": []}]}
    return nodes, workflow


def _made_models() -> Path:
    """The models, made once for each version of the script.

    In a process of its own: the caller needs no torch.
    """
    made = _CACHE / hashlib.sha256(_MAKE_MODELS.read_bytes()).hexdigest()[:16]
    if not made.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=_CACHE, prefix=".partial-"))
        subprocess.run([sys.executable, str(_MAKE_MODELS), str(partial)], check=True)
        try:
            partial.rename(made)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    return made
