"""Publishes by the nodes and files of the ComfyUI in a folder: `comfy-aws template publish`."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

from comfy_aws.callbacks import OnProgress
from comfy_aws.comfyui import hosted
from comfy_aws.models import ChosenInput, Json, to_dict


def publish(question: Json, progress: OnProgress) -> Json:
    """Answer the body of POST /aws/publishes, with an `author`, by the template that it made."""
    import folder_paths

    from comfy_aws import config, services
    from comfy_aws.comfyui.catalog import ComfyUICatalog
    from comfy_aws.hashcache import HashCache
    from comfy_aws.parameters import chosen_of
    from comfy_aws.readlog import READS, ReadLog

    wanted = question["parameters"]
    lost: list[ChosenInput] = []
    state = Path(folder_paths.get_user_directory(), "comfy-aws")
    cache, reads = HashCache(state / "hashes.sqlite"), ReadLog(state / READS)
    try:
        with tempfile.TemporaryDirectory(prefix="comfy-aws-publish-") as spool:
            publisher = services.build_publisher(
                config.load(), ComfyUICatalog(reads), cache, Path(spool)
            )
            template = publisher.publish(
                question["name"],
                question["workflow"],
                question["prompt"],
                new_version=question["new_version"],
                author=question["author"],
                description=question["description"],
                cover=base64.b64decode(question["cover"]),
                parameters=None if wanted is None else chosen_of(wanted),
                dropped=lost.extend,
                progress=progress,
            )
            return {"template": to_dict(template), "dropped": [to_dict(each) for each in lost]}
    finally:
        cache.close()
        reads.close()


if __name__ == "__main__":
    hosted.answer(publish)
