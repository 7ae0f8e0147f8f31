"""A ComfyUI that nobody looks at: it makes the endpoints scale that others have created."""

from __future__ import annotations

import json
from pathlib import Path

from comfy_aws import config, services
from comfy_aws.aws import SageMaker, Session
from comfy_aws.endpoint_plan import WorkerImage, plan_create, resource_id
from comfy_aws.models import EndpointSpec
from tests.comfy.comfyui_process import ComfyUIProcess
from tests.functional.localstack_support import WORKER, eventually
from tests.support.stack import running_stack


def test_an_endpoint_scales_though_no_page_was_ever_open(tmp_path: Path) -> None:
    # Not the shared stack: the shared designer would look at its endpoints, too.
    home = tmp_path / "home"
    config.save(home, target="local")
    with running_stack(config.load(home, {}).stack_home):
        access, image = services.access_of(config.load(home, {}))
        sagemaker = SageMaker(Session(access))
        environment = {"COMFY_AWS_LOCAL_WORKER": json.dumps(WORKER)}
        worker = WorkerImage(image.image, image.role, environment)
        for step in plan_create(EndpointSpec(name="orphan"), worker, access.bucket):
            sagemaker.call(step.operation, step.request)
        named = {"EndpointName": "orphan"}
        asked = {"ServiceNamespace": "sagemaker", "ResourceIds": [resource_id("orphan")]}

        def serves() -> bool:
            status = sagemaker.call("describe_endpoint", named)["EndpointStatus"]
            return bool(status == "InService")

        def targets() -> list[object]:
            answer = sagemaker.scale("describe_scalable_targets", asked)
            return list(answer["ScalableTargets"])

        eventually(serves, "it is in service")
        assert targets() == []
        environment = {"COMFY_AWS_HOME": str(home)}
        with ComfyUIProcess(tmp_path / "base", with_extension=True, env=environment):
            eventually(targets, "the keeper has registered it")
