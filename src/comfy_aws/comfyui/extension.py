"""Puts the designer into the ComfyUI that imports us."""

from __future__ import annotations

import logging

from server import PromptServer

from comfy_aws import comfyui as edge
from comfy_aws.comfyui.designer import Designer
from comfy_aws.comfyui.middleware import Middleware
from comfy_aws.config import DESIGNER

log = logging.getLogger(__name__)

_designer: Designer | None = None


def designer() -> Designer:
    """The process's designer, made and attached to ComfyUI by the first call."""
    global _designer  # noqa: PLW0603 – ComfyUI has one PromptServer and one queue a process
    if _designer is None:
        made = Designer(PromptServer.instance)
        if not made.queue.attach():
            made.wraps_all = True
            log.warning(
                "Prompt on AWS: this ComfyUI's queue is not one we know. Prompts on AWS run one "
                "at a time and hold up local ones; please report your ComfyUI version."
            )
        PromptServer.instance.add_on_prompt_handler(made.on_prompt)
        made.log.install()
        Middleware(made).install(PromptServer.instance.app)
        if edge.serves:
            made.take_up()
        if edge.serves and made.role == DESIGNER:
            made.keeper.start()
        _designer = made
    return _designer
