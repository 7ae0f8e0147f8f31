"""Workers start on the hosts that SageMaker gives them: the driver is new enough for their CUDA."""

from __future__ import annotations

import botocore.session
import pytest

from comfy_aws import drivers, prices
from comfy_aws.endpoint_plan import WorkerImage, plan_create
from comfy_aws.errors import ConfigError
from comfy_aws.models import EndpointSpec
from deploy import install_worker

KNOWN = {
    *botocore.session.get_session()
    .get_service_model("sagemaker")
    .shape_for("ProductionVariantInferenceAmiVersion")
    .enum
}
"""The AMIs that SageMaker names."""


def variant(instance_type: str) -> dict[str, object]:
    spec = EndpointSpec("name", instance_type=instance_type)
    [_, config, _] = plan_create(spec, WorkerImage("image", "role"), "bucket")
    [made] = config.request["ProductionVariants"]
    return dict(made)


@pytest.mark.parametrize("kind", [each.name for each in prices.listed()])
def test_every_listed_type_gets_a_driver_that_runs_the_worker(kind: str) -> None:
    ami = str(variant(kind).get("InferenceAmiVersion", ""))
    assert ami in {"", *KNOWN}
    driver = drivers.driver_of(kind, ami)
    assert driver is not None
    assert driver >= drivers.NEEDED


def test_the_worker_is_of_a_cuda_that_the_least_driver_runs() -> None:
    """Driver 525 is the least of all of CUDA 12, and too old for 13."""
    assert install_worker.TORCH_INDEX.rpartition("/")[2].startswith("cu12")


def test_a_family_that_is_not_known_keeps_its_own_ami() -> None:
    assert "InferenceAmiVersion" not in variant("ml.m5.xlarge")


def test_a_type_whose_driver_is_too_old_is_refused_before_anything_is_made() -> None:
    with pytest.raises(ConfigError, match=r"ml\.p3\.2xlarge has NVIDIA driver 470") as caught:
        variant("ml.p3.2xlarge")
    assert caught.value.hint
