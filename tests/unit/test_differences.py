"""What changed between two versions is told, and nothing else."""

from __future__ import annotations

from comfy_aws.differences import Change, changes
from comfy_aws.models import BlobRef, InputFile, Manifest, ModelFile, NodePack, TemplateVersion

A, B = BlobRef("a", 1), BlobRef("b", 2)


def version(prompt: dict, manifest: Manifest | None = None) -> TemplateVersion:
    return TemplateVersion("T", 1, 0.0, {}, prompt, manifest or Manifest())


def node(class_type: str, **inputs: object) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def test_equal_versions_have_no_differences() -> None:
    same = version({"1": node("A", x=1)}, Manifest(models=(ModelFile("f", "m", A),)))
    assert changes(same, same) == ()


def test_files_that_came_went_and_changed() -> None:
    before = Manifest(
        models=(ModelFile("loras", "same", A), ModelFile("loras", "gone", A)),
        inputs=(InputFile("i.png", A),),
        packs=(NodePack("pack", A),),
    )
    after = Manifest(
        models=(ModelFile("loras", "same", A), ModelFile("vae", "gone", A)),
        inputs=(InputFile("i.png", B),),
    )
    assert changes(version({}, before), version({}, after)) == (
        Change("model", "loras/gone", "a", None),
        Change("model", "vae/gone", None, "a"),
        Change("input", "input/i.png", "a", "b"),
        Change("pack", "pack", "a", None),
    )


def test_nodes_and_parameters() -> None:
    before = version({"1": node("A", x=1, y=["2", 0]), "2": node("B"), "3": node("C", z=1)})
    after = version({"1": node("A", x=2, y=["4", 0], w=None), "2": node("D"), "4": node("C", z=1)})
    assert changes(before, after) == (
        Change("node", "2", "B", "D"),
        Change("node", "3", "C", None),
        Change("node", "4", None, "C"),
        Change("parameter", "1.w", None, None),
        Change("parameter", "1.x", 1, 2),
        Change("parameter", "1.y", ["2", 0], ["4", 0]),
    )
