"""A node pack without nodes: it adds a sampler to those that ComfyUI's own nodes offer."""

import comfy.samplers
from comfy.k_diffusion import sampling


def sample_grey_2s(model, x, sigmas, extra_args=None, callback=None, disable=None):
    return x


sampling.sample_grey_2s = sample_grey_2s
comfy.samplers.KSampler.SAMPLERS.append("grey_2s")
NODE_CLASS_MAPPINGS = {}
