"""Leaves ComfyUI a queue with public methods only, as an unknown future version may have."""

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
NODE_CLASS_MAPPINGS = {}
