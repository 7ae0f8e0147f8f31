"""Writes the test pipeline's models: a true SD3 sampler and TAESD pair of a few megabytes.

    python tests/pipeline/make_models.py MODELS_FOLDER

- diffusion_models/tiny_sd3.safetensors: ComfyUI's MMDiT of depth 2 (hidden size 128) with random
  weights, found by UNETLoader as SD3 through its keys and shapes. 4.9 MB.
- vae_approx/taesd3_{encoder,decoder}.safetensors: what VAELoader offers as "taesd3". The weights
  are small noise around a hand-made average pooling and its inverse, so that an input image stays
  recognisable in the result, and latent2rgb previews show its colours. 4.9 MB each.

Everything is seeded: the same torch gives the same bytes. ComfyUI itself is not imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

SEED = 3
Weights = dict[str, torch.Tensor]

# MMDiT: hidden size is 64 × depth; 16 latent channels in patches of 2 × 2.
HIDDEN, LATENT_CHANNELS, PATCH = 128, 16, 2
TIME_FEATURES, POOLED_FEATURES, CONTEXT_FEATURES, POSITIONS = 256, 64, 64, 32
OUTPUT_GAIN = 0.5  # keeps the predicted velocity below the noise, or the image drowns

# comfy.latent_formats.SD3: latent @ RGB_FACTORS + RGB_BIAS is the preview in -1…1.
RGB_FACTORS = torch.tensor(
    [
        [-0.0922, -0.0175, 0.0749],
        [0.0311, 0.0633, 0.0954],
        [0.1994, 0.0927, 0.0458],
        [0.0856, 0.0339, 0.0902],
        [0.0587, 0.0272, -0.0496],
        [-0.0006, 0.1104, 0.0309],
        [0.0978, 0.0306, 0.0427],
        [-0.0042, 0.1038, 0.1358],
        [-0.0194, 0.0020, 0.0669],
        [-0.0488, 0.0130, -0.0268],
        [0.0922, 0.0988, 0.0951],
        [-0.0278, 0.0524, -0.0542],
        [0.0332, 0.0456, 0.0895],
        [-0.0069, -0.0030, -0.0810],
        [-0.0596, -0.0465, -0.0293],
        [-0.1448, -0.1463, -0.1189],
    ]
)
RGB_BIAS = torch.tensor([0.2394, 0.2135, 0.1925])

# TAESD: 64 channels inside; positions of the layers in ComfyUI's nn.Sequential.
WIDTH = 64
ENCODER_BLOCKS, ENCODER_STRIDES = (1, 3, 4, 5, 7, 8, 9, 11, 12, 13), (2, 6, 10)
DECODER_BLOCKS, DECODER_UPSAMPLES = (3, 4, 5, 8, 9, 10, 13, 14, 15, 18), (7, 12, 17)
NOISE = 0.002
CONTRAST = 1.5  # of the latents: more of the image stays above the sampler's noise


class _Random:
    """Seeded weights; a linear layer's are scaled to keep the variance of what goes through."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, scale: float) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator) * scale

    def linear(self, name: str, outputs: int, *inputs: int, gain: float = 1.0) -> Weights:
        fan_in = torch.Size(inputs).numel()
        return {
            f"{name}.weight": self.normal(outputs, *inputs, scale=gain * fan_in**-0.5),
            f"{name}.bias": self.normal(outputs, scale=0.02),
        }

    def conv3(self, name: str, outputs: int, inputs: int, *, bias: bool = True) -> Weights:
        weights = {f"{name}.weight": self.normal(outputs, inputs, 3, 3, scale=NOISE)}
        if bias:
            weights[f"{name}.bias"] = torch.zeros(outputs)
        return weights


def tiny_sd3() -> Weights:
    """State dict of MMDiT(depth=2) as ComfyUI's model detection expects it."""
    random = _Random(SEED)
    weights = random.linear("x_embedder.proj", HIDDEN, LATENT_CHANNELS, PATCH, PATCH)
    weights["pos_embed"] = random.normal(1, POSITIONS**2, HIDDEN, scale=0.5)
    for name, inputs in (("t_embedder", TIME_FEATURES), ("y_embedder", POOLED_FEATURES)):
        weights |= random.linear(f"{name}.mlp.0", HIDDEN, inputs)
        weights |= random.linear(f"{name}.mlp.2", HIDDEN, HIDDEN)
    weights |= random.linear("context_embedder", HIDDEN, CONTEXT_FEATURES)
    weights |= _block(random, "joint_blocks.0.context_block")
    weights |= _block(random, "joint_blocks.0.x_block")
    weights |= _last_context_block(random, "joint_blocks.1.context_block")
    weights |= _block(random, "joint_blocks.1.x_block")
    outputs = LATENT_CHANNELS * PATCH**2
    weights |= random.linear("final_layer.linear", outputs, HIDDEN, gain=OUTPUT_GAIN)
    weights |= random.linear("final_layer.adaLN_modulation.1", 2 * HIDDEN, HIDDEN)
    return weights


def _block(random: _Random, name: str) -> Weights:
    return {
        **random.linear(f"{name}.attn.qkv", 3 * HIDDEN, HIDDEN),
        **random.linear(f"{name}.attn.proj", HIDDEN, HIDDEN),
        **random.linear(f"{name}.mlp.fc1", 4 * HIDDEN, HIDDEN),
        **random.linear(f"{name}.mlp.fc2", HIDDEN, 4 * HIDDEN),
        **random.linear(f"{name}.adaLN_modulation.1", 6 * HIDDEN, HIDDEN),
    }


def _last_context_block(random: _Random, name: str) -> Weights:
    """The context ends in the last joint block: it is attended to, and not updated."""
    return {
        **random.linear(f"{name}.attn.qkv", 3 * HIDDEN, HIDDEN),
        **random.linear(f"{name}.adaLN_modulation.1", 2 * HIDDEN, HIDDEN),
    }


def taesd3_encoder() -> Weights:
    """RGB in 0…1, smoothed and halved three times, then spread over 16 channels."""
    random = _Random(SEED + 1)
    weights = random.conv3("0", WIDTH, 3)
    weights["0.weight"][:3, :, 1, 1] += torch.eye(3)
    weights |= _residual_blocks(random, ENCODER_BLOCKS)
    weights |= _smoothing(random, ENCODER_STRIDES)
    weights |= random.conv3("14", LATENT_CHANNELS, WIDTH)
    # latent = CONTRAST · (2 · rgb - 1) @ pinv(F) - bias @ pinv(F), the inverse of the preview
    spread = torch.linalg.pinv(RGB_FACTORS)
    weights["14.weight"][:, :3, 1, 1] += 2 * CONTRAST * spread.T
    weights["14.bias"] += (-CONTRAST * torch.ones(3) - RGB_BIAS) @ spread
    return weights


def taesd3_decoder() -> Weights:
    """The inverse: 16 channels to RGB, then doubled and smoothed three times."""
    random = _Random(SEED + 2)
    weights = random.conv3("1", WIDTH, LATENT_CHANNELS)
    weights["1.weight"][:3, :, 1, 1] += RGB_FACTORS.T / (2 * CONTRAST)
    weights["1.bias"][:3] += (RGB_BIAS / CONTRAST + 1) / 2
    weights |= _residual_blocks(random, DECODER_BLOCKS)
    weights |= _smoothing(random, DECODER_UPSAMPLES)
    weights |= random.conv3("19", 3, WIDTH)
    weights["19.weight"][:, :3, 1, 1] += torch.eye(3)
    return weights


def _residual_blocks(random: _Random, positions: tuple[int, ...]) -> Weights:
    weights: Weights = {}
    for position in positions:
        for layer in (0, 2, 4):
            weights |= random.conv3(f"{position}.conv.{layer}", WIDTH, WIDTH)
    return weights


def _smoothing(random: _Random, positions: tuple[int, ...]) -> Weights:
    """A 1-2-1 kernel on the three colour channels."""
    row = torch.tensor([0.25, 0.5, 0.25])
    weights: Weights = {}
    for position in positions:
        weights |= random.conv3(str(position), WIDTH, WIDTH, bias=False)
        for channel in range(3):
            weights[f"{position}.weight"][channel, channel] += torch.outer(row, row)
    return weights


def make_models(models: Path) -> None:
    """Writes the three files below `models`, ComfyUI's models folder."""
    files = {
        "diffusion_models/tiny_sd3.safetensors": tiny_sd3(),
        "vae_approx/taesd3_encoder.safetensors": taesd3_encoder(),
        "vae_approx/taesd3_decoder.safetensors": taesd3_decoder(),
    }
    for name, weights in files.items():
        path = models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        contiguous = {key: tensor.contiguous() for key, tensor in weights.items()}
        save_file(contiguous, path)


if __name__ == "__main__":
    make_models(Path(sys.argv[1]))
