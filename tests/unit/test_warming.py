"""Which nodes a worker runs before its first job."""

from __future__ import annotations

import pytest

from comfy_aws.models import BlobRef, Manifest, ModelFile, TemplateVersion
from comfy_aws.worker.warming import loaders

REF = BlobRef("ab" * 32, 9)


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def version(prompt, **models):
    manifest = Manifest(models=tuple(ModelFile("m", n, REF, reader=r) for n, r in models.items()))
    classes = {each["class_type"] for each in prompt.values()}
    info = {name: {"output": [] if name == "Save" else ["X"]} for name in classes}
    return TemplateVersion("T", 1, 0.0, {}, prompt, manifest, object_info=info)


def run(prompt, **models):
    return set(loaders(version(prompt, **models)))


CHECKPOINT = node("Checkpoint", name="base")
LORA = node("Lora", model=["1", 0], name="style")


@pytest.mark.parametrize(
    ("prompt", "models", "expected"),
    [
        ({"1": CHECKPOINT, "2": LORA}, {"base": "", "style": ""}, {"1", "2", "warm-1", "warm-2"}),
        ({"1": CHECKPOINT, "2": node("Sample", model=["1", 0])}, {"base": ""}, {"1", "warm-1"}),
        # A node that names a model and stands on something that samples would sample.
        ({"1": node("Sample"), "2": LORA}, {"style": ""}, set()),
        ({"1": node("Faces")}, {"unnamed": "Faces"}, {"1", "warm-1"}),
        ({"1": node("Save", name="base")}, {"base": ""}, set()),
        ({"1": node("Text", text="nothing")}, {}, set()),
    ],
    ids=["chain", "not what samples", "not on what samples", "reader", "no output", "no models"],
)
def test_only_what_loads(prompt, models, expected):
    assert run(prompt, **models) == expected
