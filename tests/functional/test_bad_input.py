"""What users and other programs get wrong: a clear error each, and nothing in the bucket."""

from __future__ import annotations

import json

import pytest

from comfy_aws.aws import ObjectStore
from comfy_aws.blobs import Blobs
from comfy_aws.capture import Capturer
from comfy_aws.endpoint_plan import WorkerImage, plan_create, spec_for
from comfy_aws.endpoints import Endpoints
from comfy_aws.errors import AwsDenied, ConfigError, InvalidName, InvalidWorkflow, NotFound
from comfy_aws.modellibrary import ModelLibrary
from comfy_aws.models import EndpointSpec
from comfy_aws.publish import Publisher, Uploader
from comfy_aws.templates import Templates
from tests.functional.parts import WORKFLOW, model_node

TEXT = {"1": {"class_type": "Text", "inputs": {}}}


@pytest.mark.parametrize(
    "name", ["", "a" * 21, "two words", "Büro", "../x", "a/b", "a\n", "１２", None, 5], ids=ascii
)
def test_a_template_name(parts, name):
    with pytest.raises(InvalidName, match="1 to 20 letters and digits"):
        parts.publisher.publish(name, WORKFLOW, TEXT)
    assert parts.wire.sent == []


@pytest.mark.parametrize(
    ("workflow", "prompt", "message"),
    [
        ("{not JSON", TEXT, "A workflow is a JSON object"),
        (WORKFLOW, "{not JSON", "A prompt is a JSON object"),
        (None, TEXT, "A workflow is a JSON object"),
        ([], TEXT, "A workflow is a JSON object"),
        (TEXT, TEXT, "with a list of nodes"),
        (WORKFLOW, {}, "at least one node"),
        (WORKFLOW, WORKFLOW, "has no class_type"),
        (WORKFLOW, {"1": {"class_type": "A", "inputs": []}}, "are no JSON object"),
        ({"nodes": ["x" * 50 * 2**20]}, TEXT, "at most 32 MiB"),
        (WORKFLOW, {"1": {"class_type": "A", "inputs": {"x": "x" * 50 * 2**20}}}, "50 MiB"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_workflow(parts, workflow, prompt, message):
    with pytest.raises(InvalidWorkflow, match=message):
        parts.publisher.publish("Name", workflow, prompt)
    assert parts.wire.sent == []


def test_a_workflow_with_half_a_character(parts):
    half = json.loads('"\\ud83d"')
    prompt = {"1": {"class_type": "Text", "inputs": {"text": half}}}
    parts.publisher.publish("Name", {"nodes": [], "title": half}, prompt)
    assert parts.templates.version("Name").prompt == prompt


@pytest.mark.parametrize("value", ["../../secret", "/etc/passwd", "a/../../../etc/passwd"])
def test_a_model_outside_its_folder_is_no_model(parts, value):
    """What the designer's catalog does not find is not looked for on the disk."""
    from comfy_aws.errors import Unresolved

    with pytest.raises(Unresolved):
        parts.publish("Name", {"1": model_node(value + ".gone")})
    assert parts.keys() == []


def test_wrong_credentials(parts):
    session = parts.stranger(secret_access_key="wrong")
    store = ObjectStore(session)
    templates = Templates(store)
    capturer = Capturer(parts.catalog, parts.cache, parts.spool)
    uploader = Uploader(Blobs(store), ModelLibrary(store), capturer)
    with pytest.raises(AwsDenied, match="s3:HeadObject") as caught:
        Publisher(templates, uploader, parts.catalog).publish("Name", WORKFLOW, TEXT)
    assert "Check the credentials" in caught.value.hint
    assert parts.keys() == []


def test_an_unknown_template(parts):
    for act in (parts.templates.get, parts.templates.version, parts.templates.delete):
        with pytest.raises(NotFound, match="There is no template named Gone"):
            act("Gone")


IMAGE = WorkerImage("image", "role")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"min_instances": -1}, "min ≥ 0"),
        ({"min_instances": 2, "max_instances": 1}, "min not above max"),
        ({"max_instances": 0}, "max ≥ 1"),
        ({"initial_instances": 0}, "first number of instances"),
        ({"initial_instances": 5}, "first number of instances"),
        ({"instance_type": "g5.xlarge"}, "begins with 'ml.'"),
        ({"fallbacks": ("g6.xlarge",)}, "begins with 'ml.'"),
        ({"fallbacks": ("ml.g5.xlarge",)}, "different instance types"),
        ({"fallbacks": tuple(f"ml.g{n}.xlarge" for n in range(6, 11))}, "1 to 5"),
        ({"fallbacks": ("ml.m5.xlarge",)}, "cannot stand in"),
    ],
)
def test_an_endpoint_out_of_range(spec, message):
    with pytest.raises(ConfigError, match=message):
        plan_create(EndpointSpec("name", **spec), IMAGE, "bucket")


@pytest.mark.parametrize("image", [WorkerImage("", "role"), WorkerImage("image", "")])
def test_an_endpoint_without_an_image_or_role(parts, image):
    with pytest.raises(ConfigError, match="is set for SageMaker's workers") as caught:
        Endpoints(parts.sagemaker, image, "bucket").create(EndpointSpec("name"))
    assert caught.value.hint


@pytest.mark.parametrize("name", ["a_b", "-a", "a" * 64, "ä", ""])
def test_an_endpoint_name(parts, name):
    with pytest.raises(InvalidName):
        spec_for(name)
    endpoints = Endpoints(parts.sagemaker, IMAGE, "bucket")
    for act in (endpoints.get, endpoints.delete, endpoints.usable):
        with pytest.raises(InvalidName):
            act(name)
