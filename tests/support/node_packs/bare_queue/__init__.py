"""Takes from ComfyUI what an unknown future version may not have.

Its queue has public methods only, and of the node that it executes it tells the page alone.
"""

import comfy_execution.utils
from server import PromptServer

METHODS = (
    "put", "get", "task_done", "get_current_queue", "get_current_queue_volatile",
    "get_tasks_remaining", "wipe_queue", "delete_queue_item", "get_history", "wipe_history",
    "delete_history_item", "set_flag", "get_flags",
)  # fmt: skip


class BareQueue:
    """Lends the methods and nothing else."""

    def __init__(self, queue):
        for name in METHODS:
            setattr(self, name, getattr(queue, name))


PromptServer.instance.prompt_queue = BareQueue(PromptServer.instance.prompt_queue)
del comfy_execution.utils.get_executing_context
NODE_CLASS_MAPPINGS = {}
