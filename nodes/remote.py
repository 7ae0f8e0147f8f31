"""The wrapper node: stands for an output node of a graph that only AWS can run.

It lets ComfyUI validate and queue a prompt whose classes or models are not here. As a rule it is
never executed, because the queue hands the whole prompt to AWS; where the queue cannot be
extended, ComfyUI's own executor runs it, and it forwards the job and waits.
"""

import comfy.model_management

from comfy_aws.comfyui import extension
from comfy_aws.errors import Cancelled


class AwsRemoteOutput:
    """One output node of a forwarded graph, under the id of the node it stands for."""

    CATEGORY = "aws"
    DESCRIPTION = "Stands for an output node of a workflow that runs on AWS. Made by the extension."
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {"job": ("STRING", {"default": "", "tooltip": "Id of the forwarded job."})},
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, **_inputs: object) -> float:
        return float("nan")  # AWS decides what is cached, not this ComfyUI

    async def run(self, job: str, node_id: str) -> dict:
        interrupted = comfy.model_management.processing_interrupted
        try:
            return {"ui": await extension.designer().run_wrapped(job, node_id, interrupted)}
        except Cancelled as exc:
            raise comfy.model_management.InterruptProcessingException from exc
