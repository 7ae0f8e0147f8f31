"""Templates through the routes and the command line of a real ComfyUI: files, names, covers."""

from __future__ import annotations

import base64
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import requests

from comfy_aws import cli
from tests.comfy.comfyui_process import ComfyUIProcess, comfyui_path
from tests.comfy.test_routes import call
from tests.pipeline import install as pipeline


def png() -> bytes:
    made = io.BytesIO()
    PIL.Image.new("RGB", (800, 400), "teal").save(made, "PNG")
    return made.getvalue()


def publish(designer: ComfyUIProcess, name: str, **more: Any) -> dict[str, Any]:
    body = {"name": name, "workflow": pipeline.load_workflow(),
            "prompt": pipeline.load_prompt(), **more}  # fmt: skip
    status, answer = call(designer, "POST", "/aws/publishes", body)
    assert status == 202, answer
    ended: dict[str, Any] = answer["publish"]
    while ended["state"] == "running":
        ended = call(designer, "GET", "/aws/publishes/{id}", id=ended["id"])[1]["publish"]
    return ended


def template(designer: ComfyUIProcess, name: str) -> dict[str, Any]:
    found: dict[str, Any] = call(designer, "GET", "/aws/templates/{name}", name=name)[1]["template"]
    return found


def test_a_cover_is_served_small(designer: ComfyUIProcess) -> None:
    cover = base64.b64encode(png()).decode()
    assert publish(designer, "Covered", cover=cover, description="d")["state"] == "done"
    digest = template(designer, "Covered")["cover"]["digest"]
    url = f"{designer.url}/aws/templates/Covered/cover"
    answer = requests.get(url, params={"digest": digest}, timeout=60)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/webp")
    assert "immutable" in answer.headers["Cache-Control"]
    assert "immutable" not in requests.get(url, timeout=60).headers["Cache-Control"]
    with PIL.Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (512, 256)

    status, answer = call(designer, "POST", "/aws/templates/{name}/rename", {"name": "Renamed"},
                          name="Covered")  # fmt: skip
    assert (status, answer["template"]["name"]) == (200, "Renamed")
    assert call(designer, "GET", "/aws/templates/{name}", name="Covered")[0] == 404
    url = f"{designer.url}/aws/templates/Renamed/cover"
    assert requests.get(url, timeout=60).status_code == 200
    call(designer, "DELETE", "/aws/templates/{name}", name="Renamed")


def test_a_cover_that_is_none(designer: ComfyUIProcess) -> None:
    body = {"name": "Bad", "workflow": {"nodes": []}, "prompt": {}, "cover": "no base64!"}
    assert call(designer, "POST", "/aws/publishes", body)[0] == 400
    ended = publish(designer, "Bad", cover=base64.b64encode(b"GIF89a").decode())
    assert (ended["state"], ended["error"]["code"]) == ("failed", "invalid_file")
    publish(designer, "Plain")
    assert template(designer, "Plain")["cover"] is None
    assert requests.get(f"{designer.url}/aws/templates/Plain/cover", timeout=60).status_code == 404
    call(designer, "DELETE", "/aws/templates/{name}", name="Plain")


def test_out_as_a_file_and_in_again(designer: ComfyUIProcess) -> None:
    publish(designer, "Export")
    url = f"{designer.url}/aws/templates/Export/export"
    small = requests.get(url, timeout=60)
    assert small.headers["Content-Type"] == "application/zip"
    assert 'filename="Export-v1.zip"' in small.headers["Content-Disposition"]
    large = requests.get(url, params={"blobs": "1"}, timeout=60)
    names = zipfile.ZipFile(io.BytesIO(large.content)).namelist()
    # Also an input and a node pack, two pages of its help and the picture in them.
    assert sum(name.startswith("blobs/") for name in names) == len(pipeline.MODELS) + 5
    assert requests.get(url, params={"version": "7"}, timeout=60).status_code == 404
    assert requests.get(url, params={"version": "x"}, timeout=60).status_code == 400

    url = f"{designer.url}/aws/templates/import"
    taken = requests.post(url, data=large.content, timeout=60)
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "conflict")
    broken = requests.post(url, data=large.content[:-50], timeout=60)
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_file")
    made = requests.post(url, params={"name": "Import"}, data=large.content, timeout=60)
    assert (made.status_code, made.json()["template"]["name"]) == (201, "Import")
    before, after = (call(designer, "GET", "/aws/templates/{name}", name=name)[1]
                     for name in ("Export", "Import"))  # fmt: skip
    assert (before["prompt"], before["manifest"]) == (after["prompt"], after["manifest"])
    for name in ("Export", "Import"):
        call(designer, "DELETE", "/aws/templates/{name}", name=name)


def test_published_from_a_terminal(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFY_AWS_HOME", str(home))
    base = tmp_path / "base"
    pipeline.install(base)
    (tmp_path / "cover.png").write_bytes(png())
    graphs = {"workflow": pipeline.load_workflow(), "prompt": pipeline.load_prompt()}
    for name, graph in graphs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(graph))

    def run(*arguments: str, status: int = 0) -> str:
        assert cli.main(("template", *arguments)) == status
        output = capsys.readouterr()
        return output.out if status == 0 else output.err

    common = ("publish", "Terminal", "--workflow", str(tmp_path / "workflow.json"),
              "--prompt", str(tmp_path / "prompt.json"), "--comfyui", str(comfyui_path()),
              "--arguments", f"--base-directory '{base}' --disable-api-nodes")  # fmt: skip
    with monkeypatch.context() as terminal:
        terminal.setattr(sys.stderr, "isatty", lambda: True)
        cover = ("--cover", str(tmp_path / "cover.png"), "--description", "by hand",
                 "--parameter", f"{pipeline.SAMPLER_ID}.steps=Effort",
                 "--parameter", f"{pipeline.SAMPLER_ID}.seed")  # fmt: skip
        assert cli.main(("template", *common, *cover)) == 0
    told = capsys.readouterr()
    assert "Terminal is published: version 1" in told.out
    assert [text for text in told.err.split("\r\x1b[K") if text.startswith("st")] == [
        "start ComfyUI",
        "store Terminal",
    ]
    shown = json.loads(run("show", "Terminal", "--json"))
    assert shown["version"]["prompt"] == graphs["prompt"]
    assert {m["name"] for m in shown["version"]["manifest"]["models"]} == {
        Path(name).name for name in pipeline.MODELS
    }
    assert shown["template"]["description"] == "by hand"
    assert shown["template"]["cover"]
    assert [(each["input"], each["label"]) for each in shown["template"]["parameters"]] == [
        ("steps", "Effort"), ("seed", "")]  # fmt: skip
    with pytest.raises(SystemExit):
        run(*common, "--parameter", "steps")
    assert "a parameter is NODE.INPUT, such as 7.steps; got steps" in capsys.readouterr().err
    assert "Terminal exists already" in run(*common, status=1)

    file = tmp_path / "t.zip"
    assert "Version 1 of Terminal" in run("export", "Terminal", str(file), "--with-blobs")
    assert "FromFile is there" in run("import", str(file), "--name", "FromFile")
    assert "is named Other now" in run("rename", "FromFile", "Other")
    assert "Other exists already" in run("rename", "Terminal", "Other", status=1)
    listed = {item["name"]: item for item in json.loads(run("list", "--json"))}
    assert listed["Other"]["size"] == listed["Terminal"]["size"] > 0
    for name in ("Terminal", "Other"):
        run("delete", name)
