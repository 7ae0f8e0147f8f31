"""Deterministic noise in place of a text encoder's output."""

import hashlib
import json
from pathlib import Path

import torch

STYLES = Path(__file__).parent / "styles.json"
TOKENS, FEATURES = 16, 64


def style_names():
    """The names in styles.json, the first is the default."""
    return list(json.loads(STYLES.read_text(encoding="utf-8")))


def embed(text, seed, style):
    """Context (1, 16, 64) and pooled output (1, 64), float32 on the CPU."""
    gain = json.loads(STYLES.read_text(encoding="utf-8"))[style]
    digest = hashlib.sha256(f"{seed}\n{text}".encode()).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:4], "big"))
    context = torch.randn(1, TOKENS, FEATURES, generator=generator)
    pooled = torch.randn(1, FEATURES, generator=generator)
    return context * gain, pooled * gain
