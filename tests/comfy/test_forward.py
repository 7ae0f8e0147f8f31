"""The forward path: what a designer sees of prompts that run on AWS, beside its local ones."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from PIL import Image

from comfy_aws import layout
from comfy_aws.aws import ObjectStore
from comfy_aws.models import Template, to_json
from tests.comfy.comfyui_process import ComfyUIProcess
from tests.comfy.conftest import WORKERS
from tests.functional.localstack_support import eventually
from tests.pipeline import install as pipeline
from tests.support.client import Client


def slow(seconds: float, *, prefix: str = "slow", grey: float = 0.5, batch: int = 1) -> dict:
    return {
        "1": {"class_type": "SlowImage",
              "inputs": {"seconds": seconds, "grey": grey, "batch": batch}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }  # fmt: skip


def saved(entry: dict[str, Any], node_id: str = "2") -> list[str]:
    return [image["filename"] for image in entry["outputs"][node_id]["images"]]


def test_a_cloud_run_looks_like_a_local_one(client: Client) -> None:
    prompt = slow(0.5, prefix="looks", grey=0.1)
    local = client.queue(prompt)
    local_entry = client.end(local)
    cloud = client.queue(prompt, aws={}, extra_pnginfo={"workflow": {"nodes": []}})
    entry = client.end(cloud)
    assert entry["prompt"][2] == prompt
    assert entry["status"]["status_str"] == "success"
    assert entry["status"]["completed"] is True
    messages = [name for name, _ in entry["status"]["messages"]]
    assert messages == [name for name, _ in local_entry["status"]["messages"]]
    assert entry["outputs"].keys() == local_entry["outputs"].keys()
    # The same kinds of messages in the same order, but for how often progress is told.
    told = [kind for kind in client.kinds(cloud) if kind in set(client.kinds(local))]
    assert list(dict.fromkeys(told)) == list(dict.fromkeys(client.kinds(local)))
    assert client.job(cloud)["state"] == "succeeded"


def test_the_queue_shows_a_running_cloud_job(client: Client) -> None:
    prompt = slow(3, grey=0.2)
    job = client.queue(prompt, aws={})
    client.wait_state(job, "running")
    running = client.get("/queue")["queue_running"]
    assert [item[2] for item in running if item[1] == job] == [prompt]
    assert client.get("/prompt")["exec_info"]["queue_remaining"] >= 1
    client.end(job)
    assert all(item[1] != job for item in client.get("/queue")["queue_running"])


def test_a_job_carries_who_sent_it(client: Client, bucket: ObjectStore) -> None:
    body = {
        "prompt": slow(0, prefix="sent", grey=0.21), "client_id": client.id,
        "extra_data": {"aws": {}, "aws_user": "somebody else"},
    }  # fmt: skip
    answer = requests.post(
        f"{client.url}/prompt", json=body, headers={"Comfy-User": "ann"}, timeout=60
    )
    job = answer.json()["prompt_id"]
    client.end(job)
    result = json.loads(bucket.get(f"jobs/{job}/result.json"))
    assert result["usage"]["user"] == "ann"
    assert "aws_user" not in json.loads(bucket.get(f"jobs/{job}/request.json"))["extra_data"]


def test_output_names_go_on_from_the_local_ones(designer: ComfyUIProcess, client: Client) -> None:
    output = designer.base_dir / "output"
    mine = output / "kept_00007_.png"
    mine.write_bytes(b"mine")
    entry = client.end(client.queue(slow(0, prefix="kept", grey=0.3, batch=2), aws={}))
    assert saved(entry) == ["kept_00008_.png", "kept_00009_.png"]
    assert mine.read_bytes() == b"mine"
    executed = client.hear("executed", entry["prompt"][1])
    assert [image["filename"] for image in executed["output"]["images"]] == saved(entry)
    for name in saved(entry):
        assert Image.open(output / name).getpixel((0, 0)) == (76, 76, 76)
    assert not list(output.glob(".aws-*")), "a part of a file was left behind"


def test_nothing_ran_again_nothing_is_written_again(client: Client) -> None:
    """As here: a node whose result is cached names the file that it wrote before."""
    prompt = slow(0, prefix="again", grey=0.35)
    entries = [client.end(client.queue(prompt, aws={})) for _ in range(WORKERS + 1)]
    assert len({saved(entry)[0] for entry in entries}) <= WORKERS


def test_the_local_cache_stays_warm(client: Client) -> None:
    prompt = slow(0.2, prefix="warm", grey=0.41)
    client.end(client.queue(prompt))
    client.end(client.queue(slow(0, prefix="other", grey=0.42), aws={}))
    again = client.queue(prompt)
    client.end(again)
    assert client.hear("execution_cached", again)["nodes"] == ["1", "2"]


def test_many_cloud_jobs_run_at_once_beside_a_local_one(client: Client) -> None:
    local = client.queue(slow(8, prefix="local", grey=0.51))
    first = client.queue(slow(4, prefix="many", grey=0.52), aws={})
    second = client.queue(slow(4, prefix="many", grey=0.53), aws={})
    client.wait_state(first, "running")
    client.wait_state(second, "running")
    assert client.job(first)["state"] == "running", "the jobs did not run at once"
    names = saved(client.end(first)) + saved(client.end(second))
    assert sorted(names) == ["many_00001_.png", "many_00002_.png"]
    assert client.end(local)["status"]["completed"] is True


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/interrupt", {"prompt_id": "ID"}),
        ("/api/interrupt", {"prompt_id": "ID"}),
        ("/queue", {"delete": ["ID"]}),
        ("/api/jobs/ID/cancel", {}),
        ("/api/jobs/cancel", {"job_ids": ["ID"]}),
        ("/aws/jobs/ID/cancel", {}),
    ],
)
def test_cancelling_a_cloud_job_leaves_the_local_run_alone(
    client: Client, path: str, body: dict[str, Any]
) -> None:
    local = client.queue(slow(3, grey=0.6))
    cloud = client.queue(slow(60, grey=0.6), aws={})
    client.wait_state(cloud, "running")
    text = json.dumps(body).replace("ID", cloud)
    answer = client.post(path.replace("ID", cloud), json.loads(text))
    assert answer.status_code == 200, answer.text
    if path.startswith("/api/jobs/"):
        assert answer.json() == {"cancelled": True}
    entry = client.end(cloud)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert client.job(cloud)["state"] == "cancelled"
    assert client.end(local)["status"]["completed"] is True


def test_interrupt_without_an_id_means_the_local_run_first(client: Client) -> None:
    local = client.queue(slow(60, grey=0.61))
    cloud = client.queue(slow(60, grey=0.62), aws={})
    client.wait_state(cloud, "running")
    client.hear("execution_start", local)
    client.post("/interrupt")
    assert client.end(local)["status"]["messages"][-1][0] == "execution_interrupted"
    assert client.job(cloud)["state"] == "running"
    client.post("/interrupt")
    assert client.end(cloud)["status"]["messages"][-1][0] == "execution_interrupted"


def test_clearing_the_queue_drops_jobs_that_wait(client: Client) -> None:
    busy = [client.queue(slow(60, grey=0.63), aws={}) for _ in range(WORKERS)]
    for job in busy:
        client.wait_state(job, "running")
    waiting = client.queue(slow(60, grey=0.64), aws={})
    client.wait_state(waiting, "submitted")
    queue = client.get("/queue")
    assert {item[1] for item in queue["queue_running"]} == set(busy)
    assert [item[1] for item in queue["queue_pending"]] == [waiting]
    client.post("/queue", {"clear": True})
    client.end(waiting)
    assert client.job(waiting)["state"] == "cancelled"
    assert [client.job(job)["state"] for job in busy] == ["running"] * WORKERS
    answer = client.post("/jobs/cancel", {"job_ids": busy})  # newer ComfyUIs' pages ask so
    assert answer.json() == {"cancelled": True}
    for job in busy:
        client.end(job)


def test_a_failing_node_is_named(client: Client) -> None:
    prompt = slow(0)
    prompt["1"] = {"class_type": "FailingImage", "inputs": {"reason": "no such luck"}}
    job = client.queue(prompt, aws={})
    error = client.hear("execution_error", job)
    assert error["node_id"] == "1"
    assert error["node_type"] == "FailingImage"
    assert "no such luck" in error["exception_message"]
    assert error["exception_type"] == "ValueError"
    assert any("slow_nodes" in line for line in error["traceback"])
    entry = client.end(job)
    assert entry["status"]["status_str"] == "error"
    assert "no such luck" in client.job(job)["message"]


def test_a_failure_without_a_node_keeps_the_list_of_jobs(
    designer: ComfyUIProcess, client: Client
) -> None:
    (designer.base_dir / "output" / "blocked").touch()
    job = client.queue(slow(0, prefix="blocked/by"), aws={})
    assert client.hear("execution_error", job)["node_id"] is None
    _, kept = client.end(job)["status"]["messages"][-1]
    # The page shows no job at all when one error in GET /jobs has a node that is no text.
    assert (kept["node_id"], kept["node_type"]) == ("", "")


def test_credentials_of_comfy_org_stay_here(client: Client, bucket: ObjectStore) -> None:
    prompt = {"1": {"class_type": "WhatReachedMe", "inputs": {"salt": 1}}}
    job = client.queue(
        prompt, aws={}, auth_token_comfy_org="secret-token", api_key_comfy_org="secret-key",
        extra_pnginfo={"mine": "yes"},
    )  # fmt: skip
    reached = json.loads(client.end(job)["outputs"]["1"]["reached"][0])
    assert reached == {"token": None, "key": None, "extra": {"mine": "yes"}}
    stored = [entry.key for entry in bucket.list(f"jobs/{job}/")]
    assert f"jobs/{job}/request.json" in stored
    for key in stored:
        assert b"secret" not in bucket.get(key)


def test_a_partner_node_is_told_before_anything_is_spent(
    client: Client, bucket: ObjectStore
) -> None:
    prompt = slow(0, prefix="partner", grey=0.72)
    prompt["1"]["class_type"] = "PartnerImage"
    job = client.queue(prompt, aws={})
    error = client.hear("execution_error", job)
    assert error["node_id"] == "1"
    assert "never leaves this machine" in error["exception_message"]
    assert not list(bucket.list(f"jobs/{job}/"))
    client.end(client.queue(prompt))


def test_an_unmarked_prompt_runs_here(client: Client) -> None:
    job = client.queue(slow(0, prefix="here", grey=0.7))
    client.end(job)
    assert all(entry["id"] != job for entry in client.get("/aws/jobs")["jobs"])


@pytest.mark.parametrize(
    ("mark", "says"),
    [
        ({"template": "Nobody"}, "no template named Nobody"),
        ({"template": "../x"}, "1 to 20 letters and digits"),
        ({"endpoint": "not-there"}, "no endpoint named not-there"),
        ("yes", "extra_data.aws"),
    ],
)
def test_a_mark_that_leads_nowhere_is_refused_at_once(client: Client, mark: Any, says: str) -> None:
    answer = client.submit(slow(0), aws=mark)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert client.get("/queue")["queue_running"] == []


def test_a_prompt_that_is_invalid_is_refused_by_comfyui_itself(client: Client) -> None:
    prompt = slow(0)
    prompt["1"]["inputs"]["batch"] = 99
    answer = client.submit(prompt, aws={})
    assert answer.status_code == 400
    assert answer.json()["node_errors"]["1"]["errors"][0]["type"] == "value_bigger_than_max"


@pytest.fixture(scope="module")
def template(designer: ComfyUIProcess, bucket: ObjectStore) -> Iterator[str]:
    """The pipeline; beside a template whose only version is gone, which hides nothing of it."""
    publish(designer, "Forward", pipeline.load_workflow(), pipeline.load_prompt(seed=5))
    half = layout.template_key("Half")
    bucket.put(half, to_json(Template("Half", 1, 1.0, 1.0)).encode())
    yield "Forward"
    bucket.delete(half)


def publish(designer: ComfyUIProcess, name: str, workflow: Any, prompt: Any) -> None:
    body = {"name": name, "workflow": workflow, "prompt": prompt}
    begun = requests.post(f"{designer.url}/aws/publishes", json=body, timeout=60).json()
    path = f"{designer.url}/aws/publishes/{begun['publish']['id']}"
    while (state := requests.get(path, timeout=60).json()["publish"])["state"] == "running":
        pass
    assert state["state"] == "done", state["error"]


@pytest.fixture(scope="module")
def port(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    env = {"COMFY_AWS_HOME": str(home)}
    base = tmp_path_factory.mktemp("port")
    """Without models, packs and inputs."""
    with ComfyUIProcess(base, with_extension=True, env=env) as process:
        yield process


@pytest.fixture
def artist(port: ComfyUIProcess) -> Iterator[Client]:
    opened = Client(port.url)
    yield opened
    opened.close()


def test_a_port_runs_what_is_not_installed(
    artist: Client, client: Client, port: ComfyUIProcess, designer: ComfyUIProcess,
    template: str,
) -> None:  # fmt: skip
    prompt = pipeline.load_prompt(seed=6)
    job = artist.queue(prompt, aws={"template": template})
    entry = artist.end(job)
    assert entry["prompt"][2] == prompt, "history does not show the artist's own graph"
    assert entry["outputs"].keys() == {pipeline.SAVE_ID}
    assert artist.previews > 0
    local = client.end(client.queue(prompt))
    pictures = [
        Image.open(process.base_dir / "output" / saved(each, pipeline.SAVE_ID)[0]).tobytes()
        for process, each in ((port, entry), (designer, local))
    ]
    assert pictures[0] == pictures[1]


def test_a_port_knows_the_nodes_and_models_of_the_bucket(artist: Client, template: str) -> None:
    info = artist.get("/object_info")
    assert info["TinyConditioning"]["output"] == ["CONDITIONING"]
    assert "tiny_sd3.safetensors" in info["UNETLoader"]["input"]["required"]["unet_name"][0]
    assert "taesd3" in info["VAELoader"]["input"]["required"]["vae_name"][0]
    assert list(artist.get("/object_info/TinyConditioning")) == ["TinyConditioning"]
    assert artist.get("/object_info/NoSuchNode") == {}


def test_definitions_are_kept_as_comfyui_gives_them(
    client: Client, bucket: ObjectStore, template: str
) -> None:
    kept = json.loads(bucket.get(layout.version_key(template, 1)))["object_info"]
    for name, definition in kept.items():
        here = client.get(f"/object_info/{name}")[name]
        del here["input"]  # which grows with the files of this machine
        told = {key: value for key, value in here.items() if value not in (False, None, [])}
        assert {key: definition.get(key) for key in told} == told


def test_a_port_knows_the_nodes_of_a_template_that_was_just_published(
    artist: Client, designer: ComfyUIProcess, template: str
) -> None:
    assert "SlowImage" not in artist.get("/object_info")
    publish(designer, "Late", {"nodes": [], "links": [], "version": 0.4}, slow(0))
    assert artist.get("/aws/templates/Late")["version"] == 1
    assert "SlowImage" in artist.get("/object_info")


def test_a_port_runs_a_model_that_is_only_in_the_bucket(artist: Client, template: str) -> None:
    """Without a template: the class is known, the file comes from the bucket's library."""
    prompt = {
        "1": {"class_type": "UNETLoader",
              "inputs": {"unet_name": "tiny_sd3.safetensors", "weight_dtype": "default"}},
        "2": {"class_type": "ModelSave",
              "inputs": {"model": ["1", 0], "filename_prefix": "saved_model"}},
    }  # fmt: skip
    entry = artist.end(artist.queue(prompt, aws={}))
    assert entry["status"]["completed"] is True, entry["status"]
    prompt["1"]["inputs"]["unet_name"] = "nowhere.safetensors"
    answer = artist.submit(prompt, aws={})
    assert answer.status_code == 400
    assert "nowhere.safetensors" in answer.json()["node_errors"]["1"]["errors"][0]["message"]


def test_a_job_may_use_other_packs_than_its_template(client: Client, template: str) -> None:
    job = client.queue(slow(0, prefix="other", grey=0.95), aws={"template": template})
    assert client.end(job)["status"]["completed"] is True


def test_a_refused_graph_is_not_run_in_place_of_a_later_one(artist: Client, template: str) -> None:
    """Both have the same prompt_id; the first has no output node, the second is a local one."""
    node_id = pipeline.CONDITIONING_ID
    nothing_to_show = {node_id: pipeline.load_prompt()[node_id]}
    image = {"width": 16, "height": 16, "batch_size": 1, "color": 0}
    local = {"1": {"class_type": "EmptyImage", "inputs": image},
             "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}  # fmt: skip
    prompt_id = str(uuid.uuid4())
    body = {"prompt_id": prompt_id, "client_id": artist.id}
    mark = {"aws": {"template": template}}
    refused = artist.post("/prompt", {**body, "prompt": nothing_to_show, "extra_data": mark})
    assert refused.status_code == 400
    assert artist.post("/prompt", {**body, "prompt": local}).status_code == 200
    assert artist.end(prompt_id)["prompt"][2] == local
    assert all(job["id"] != prompt_id for job in artist.get("/aws/jobs")["jobs"])


def test_a_null_for_an_id_is_none(artist: Client, template: str) -> None:
    body = {"prompt_id": None, "client_id": artist.id, "prompt": pipeline.load_prompt(seed=7),
            "extra_data": {"aws": {"template": template}}}  # fmt: skip
    answer = artist.post("/prompt", body)
    assert answer.status_code == 200, answer.text
    assert artist.end(answer.json()["prompt_id"])["status"]["completed"] is True


def test_a_ports_mistakes_come_back_at_their_node(artist: Client, template: str) -> None:
    prompt = pipeline.load_prompt()
    prompt[pipeline.SAMPLER_ID]["inputs"]["steps"] = 0
    answer = artist.submit(prompt, aws={"template": template})
    assert answer.status_code == 400
    errors = answer.json()["node_errors"]
    assert list(errors) == [pipeline.SAMPLER_ID]
    assert errors[pipeline.SAMPLER_ID]["class_type"] == "KSampler"
    assert errors[pipeline.SAMPLER_ID]["errors"][0]["extra_info"]["input_name"] == "steps"


def test_a_port_runs_what_is_sound_of_a_graph(artist: Client, template: str) -> None:
    """As ComfyUI does: what feeds nothing is nobody's, and one bad output holds up no other."""
    prompt = pipeline.load_prompt(seed=8)
    sampler = prompt[pipeline.SAMPLER_ID]
    prompt["90"] = {**sampler, "inputs": {"steps": 0}}
    mark = {"template": template}
    answer = artist.submit(prompt, aws=mark)
    assert (answer.status_code, answer.json()["node_errors"]) == (200, {})
    prompt["91"] = {**sampler, "inputs": {**sampler["inputs"], "steps": 0}}
    decoder = prompt[prompt[pipeline.SAVE_ID]["inputs"]["images"][0]]
    prompt["92"] = {**decoder, "inputs": {**decoder["inputs"], "samples": ["91", 0]}}
    prompt["93"] = {"class_type": "PreviewImage", "inputs": {"images": ["92", 0]}}
    answer = artist.submit(prompt, aws=mark)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()["node_errors"]) == ["91"]
    assert answer.json()["node_errors"]["91"]["dependent_outputs"] == ["93"]
    entry = artist.end(answer.json()["prompt_id"])
    assert entry["status"]["completed"] is True
    assert list(entry["outputs"]) == [pipeline.SAVE_ID]
    body = {"prompt": prompt, "client_id": artist.id, "extra_data": {"aws": mark}}
    for target, status in ((pipeline.SAVE_ID, 200), ("93", 400)):
        answer = artist.post("/prompt", {**body, "partial_execution_targets": [target]})
        assert answer.status_code == status, answer.text


def test_a_loader_that_feeds_nothing_holds_up_no_run(client: Client) -> None:
    prompt = slow(0, prefix="dangling", grey=0.96)
    lost = {"unet_name": "deleted.safetensors", "weight_dtype": "default"}
    prompt["9"] = {"class_type": "UNETLoader", "inputs": lost}
    assert client.end(client.queue(prompt, aws={}))["status"]["completed"] is True


def test_a_port_is_told_of_an_unknown_class_without_a_template_is_named(artist: Client) -> None:
    answer = artist.submit(pipeline.load_prompt(), aws={})
    assert answer.status_code == 400
    errors = answer.json()["node_errors"]
    assert "TinyConditioning" in errors[pipeline.CONDITIONING_ID]["errors"][0]["message"]


# -- what only newer ComfyUIs have ---------------------------------------------------------------


def growing(seconds: float = 0, **resize: Any) -> dict[str, Any]:
    """A choice that brings inputs, a row that grows, and types that match."""
    resize = resize or {"resize_type": "scale by multiplier", "resize_type.multiplier": 2.0}
    prompt = slow(seconds, prefix="growing", grey=0.25)
    return {
        "1": prompt["1"],
        "3": {"class_type": "ResizeImageMaskNode",
              "inputs": {"input": ["1", 0], "scale_method": "area", **resize}},
        "4": {"class_type": "ComfySwitchNode",
              "inputs": {"switch": True, "on_false": ["1", 0], "on_true": ["3", 0]}},
        "5": {"class_type": "BatchImagesNode",
              "inputs": {"images.image0": ["4", 0], "images.image1": ["3", 0]}},
        "2": {"class_type": "SaveImage",
              "inputs": {"images": ["5", 0], "filename_prefix": "growing"}},
    }  # fmt: skip


def need(url: str, prompt: dict[str, Any]) -> None:
    known = requests.get(f"{url}/object_info", timeout=60).json()
    lacking = {node["class_type"] for node in prompt.values()} - known.keys()
    if lacking:
        pytest.skip(f"this ComfyUI has no {', '.join(sorted(lacking))}")


@pytest.fixture(scope="module")
def grown(designer: ComfyUIProcess) -> str:
    need(designer.url, growing())
    publish(designer, "Growing", {"nodes": [], "links": [], "version": 0.4}, growing())
    return "Growing"


def test_inputs_that_come_and_go_run_here_and_there(
    client: Client, artist: Client, designer: ComfyUIProcess, grown: str
) -> None:
    here = client.end(client.queue(growing()))
    there = client.end(client.queue(growing(), aws={}))
    assert [len(saved(each)) for each in (here, there)] == [2, 2]
    for name in saved(here) + saved(there):
        with Image.open(designer.base_dir / "output" / name) as image:
            assert image.size == (32, 32)
    entry = artist.end(artist.queue(growing(), aws={"template": grown}))
    assert entry["status"]["completed"] is True, entry["status"]
    assert len(saved(entry)) == 2


def test_mistakes_in_inputs_that_come_and_go_are_told_by_a_port(artist: Client, grown: str) -> None:
    wrong: dict[str, Any] = {"resize_type": "scale by multiplier", "resize_type.multiplier": 99}
    refused = artist.submit(growing(**wrong), aws={"template": grown})
    [error] = refused.json()["node_errors"]["3"]["errors"]
    assert error["type"] == "value_bigger_than_max"
    assert error["extra_info"]["input_name"] == "resize_type.multiplier"
    del wrong["resize_type.multiplier"]
    refused = artist.submit(growing(**wrong), aws={"template": grown})
    assert refused.json()["node_errors"]["3"]["errors"][0]["type"] == "required_input_missing"


def test_a_program_sets_an_input_that_comes_with_a_choice(client: Client, grown: str) -> None:
    body = {"parameters": {"3.resize_type.multiplier": 99}}
    refused = client.post(f"/aws/templates/{grown}/run", body)
    assert refused.json()["error"]["parameters"].keys() == body["parameters"].keys()
    body = {"parameters": {"3.resize_type.multiplier": 3}, "wait": 90}
    job = client.post(f"/aws/templates/{grown}/run", body).json()["job"]
    assert (job["state"], len(job["outputs"])) == ("succeeded", 2), job
    picture = client.url + f"/aws/jobs/{job['id']}/outputs/1"
    with Image.open(io.BytesIO(requests.get(picture, timeout=60).content)) as image:
        assert image.size == (48, 48)


def test_a_class_that_comfyui_has_given_up_is_replaced_as_here(
    client: Client, designer: ComfyUIProcess
) -> None:
    if requests.get(f"{client.url}/node_replacements", timeout=60).status_code == 404:
        pytest.skip("this ComfyUI replaces no classes")
    prompt = slow(0, prefix="replaced")
    old = {"class_type": "SlowPicture", "inputs": {"delay": 0}, "_meta": {"title": "Old"}}
    prompt["1"] = old
    for mark in ({"aws": {}}, {}):
        entry = client.end(client.queue(prompt, **mark))
        assert entry["status"]["completed"] is True, entry["status"]
        assert entry["prompt"][2]["1"]["class_type"] == "SlowImage"
    answer = client.post("/aws/preflight", {"prompt": prompt}).json()
    assert answer["unresolved"] == []
    publish(designer, "Replaced", {"nodes": [], "links": [], "version": 0.4}, prompt)
    stored = client.get("/aws/templates/Replaced")
    assert stored["prompt"]["1"]["class_type"] == "SlowImage"


def test_every_kind_of_file_comes_home(client: Client, designer: ComfyUIProcess) -> None:
    mesh = designer.base_dir / "input" / "3d" / "cube.obj"
    mesh.parent.mkdir(exist_ok=True)
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    view = {"viewport_state": {}, "width": 64, "height": 64}
    prompt = {
        "1": {"class_type": "SlowImage", "inputs": {"seconds": 0, "grey": 0.4, "batch": 4}},
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 4.0}},
        "3": {"class_type": "SaveVideo", "inputs": {
            "video": ["2", 0], "filename_prefix": "kinds/clip", "format": "auto",
            "format.codec": "auto"}},
        "4": {"class_type": "EmptyAudio", "inputs": {
            "duration": 0.1, "sample_rate": 8000, "channels": 1}},
        "5": {"class_type": "SaveAudioAdvanced", "inputs": {
            "audio": ["4", 0], "filename_prefix": "kinds/sound", "format": "flac"}},
        "6": {"class_type": "Load3DAdvanced", "inputs": {"model_file": "3d/cube.obj", **view}},
        "7": {"class_type": "Save3DAdvanced", "inputs": {
            "model_3d": ["6", 0], "filename_prefix": "kinds/mesh", **view}},
        "8": {"class_type": "Preview3DAdvanced", "inputs": {"model_3d": ["6", 0], **view}},
        "9": {"class_type": "Preview3D", "inputs": {"model_file": ["6", 0]}},
        "10": {"class_type": "PreviewAny", "inputs": {"source": ["7", 3]}},
        "11": {"class_type": "SaveText", "inputs": {
            "text": ["10", 0], "filename_prefix": "kinds/word", "format": "md"}},
        "12": {"class_type": "SaveImageAdvanced", "inputs": {
            "images": ["1", 0], "filename_prefix": "kinds/deep", "format": "png",
            "format.bit_depth": "16-bit", "format.input_color_space": "sRGB"}},
    }  # fmt: skip
    need(client.url, prompt)
    entries = [client.end(client.queue(prompt, **mark)) for mark in ({"aws": {}}, {})]
    for entry in entries:
        assert entry["status"]["status_str"] == "success", entry["status"]
    there, here = (entry["outputs"] for entry in entries)
    assert there.keys() == here.keys()
    for node_id in here:
        assert there[node_id].keys() == here[node_id].keys()
    assert there["10"] == here["10"] == {"text": ["64"]}
    for node_id, folder in (("7", "output"), ("8", "temp"), ("9", "output")):
        for outputs in (there, here):
            [name, *_] = outputs[node_id]["result"]
            assert (designer.base_dir / folder / name).read_text() == mesh.read_text()
    listed = {file for outputs in (there, here) for node in outputs.values()
              for files in node.values() if isinstance(files, list)
              for file in files if isinstance(file, dict) and "filename" in file
              for file in [(file["type"], file["subfolder"], file["filename"])]}  # fmt: skip
    assert len(listed) == 2 * 7
    for kind, subfolder, name in listed:
        assert (designer.base_dir / kind / subfolder / name).stat().st_size > 0


def early_and_late(early: str, late: str, grey: float) -> dict:
    """Node 2 saves a picture, and seconds later node 12 another one."""
    picture, other = slow(0, prefix=early, grey=grey), slow(6, prefix=late, grey=grey)
    other["1"]["inputs"]["batch"] = ["3", 2]
    other["2"]["inputs"]["images"] = ["11", 0]
    size = {"class_type": "GetImageSize", "inputs": {"image": ["1", 0]}}
    return {**picture, "3": size, "11": other["1"], "12": other["2"]}


def test_a_result_that_does_not_come_at_once_comes_with_the_end(
    designer: ComfyUIProcess, client: Client
) -> None:
    blocked = designer.base_dir / "output" / "blocked"
    blocked.write_text("no folder")
    job = client.queue(early_and_late("blocked/early", "late", 0.83), aws={})
    client.hear("executing", job, node="11")
    eventually(lambda: "an output comes later" in designer.log, "it could not be written")
    blocked.unlink()
    entry = client.end(job)
    assert entry["status"]["status_str"] == "success"
    assert (saved(entry), saved(entry, "12")) == (["early_00001_.png"], ["late_00001_.png"])
    assert (blocked / "early_00001_.png").is_file()
    executed = [told["node"] for kind, told in client.messages
                if kind == "executed" and told.get("prompt_id") == job]  # fmt: skip
    assert sorted(executed) == ["12", "2"]


def test_a_result_that_does_not_come_at_all_fails_the_job(
    designer: ComfyUIProcess, client: Client
) -> None:
    (designer.base_dir / "output" / "shut").write_text("no folder")
    job = client.queue(slow(0, prefix="shut/x", grey=0.84), aws={})
    entry = client.end(job)
    assert entry["status"]["status_str"] == "error"
    assert "cannot be written" in client.wait_state(job, "failed")["message"]


def test_a_restarted_designer_takes_up_its_jobs(designer: ComfyUIProcess, client: Client) -> None:
    """What came home before the restart does not come twice."""
    each = uuid.uuid4()  # a second try finds nothing of the first, and nothing cached
    early, late = (f"{name}{each.hex[:6]}" for name in ("early", "resumed"))
    job = client.queue(early_and_late(early, late, each.int % 997 / 1000), aws={})
    eventually(lambda: client.job(job)["facts"]["files"], "the first picture has come home")
    client.close()
    designer.kill()
    designer.start()
    designer.wait_ready()
    again = Client(designer.url)
    again.get("/aws/jobs")
    again.wait_state(job, "succeeded")
    eventually(lambda: again.get(f"/history/{job}"), "history has it")
    entry = again.get(f"/history/{job}")[job]
    assert saved(entry) == [f"{early}_00001_.png"]
    assert saved(entry, "12") == [f"{late}_00001_.png"]
    output = designer.base_dir / "output"
    assert [path.name for path in output.glob(f"{early}_*")] == saved(entry)
    assert (output / saved(entry, "12")[0]).is_file()
    files = [file["filename"] for file in again.job(job)["facts"]["files"]]
    assert sorted(files) == [*saved(entry), *saved(entry, "12")]
    again.close()


def test_two_comfyuis_of_one_folder_leave_each_others_jobs_alone(
    designer: ComfyUIProcess, home: Path, client: Client
) -> None:
    second = ComfyUIProcess(
        designer.base_dir,
        with_extension=True,
        env={"COMFY_AWS_HOME": str(home)},
        extra_args=["--database-url", "sqlite:///:memory:"],
    )
    first_job = client.queue(slow(20, prefix="first", grey=0.85), aws={})
    client.wait_state(first_job, "running")
    with second:
        other = Client(second.url)
        second_job = other.queue(slow(20, prefix="second", grey=0.86), aws={})
        other.wait_state(second_job, "running")
        assert [job["id"] for job in other.get("/aws/jobs")["jobs"]] == [second_job]
        other.close()
        assert saved(client.end(first_job)) == ["first_00001_.png"]
        assert client.job(first_job)["state"] == "succeeded"
        second.kill()
        second.start()
        second.wait_ready()
        again = Client(second.url)
        again.wait_state(second_job, "succeeded")
        eventually(lambda: again.get(f"/history/{second_job}"), "history has it")
        assert saved(again.get(f"/history/{second_job}")[second_job]) == ["second_00001_.png"]
        again.close()
    listed = [path.name for path in (designer.base_dir / "output").glob("first_*")]
    assert listed == ["first_00001_.png"]


def worker_that_wrote(name: str, home: Path) -> psutil.Process:
    """The process of the worker, of a settings folder's local stack, whose folders have a file."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if (process.info["cmdline"] or [])[1:4] == ["-m", "comfy_aws.worker", "serve"]:
            folder = Path(process.info["cwd"])
            if folder.is_relative_to(home) and any(folder.rglob(name)):
                return process
    raise AssertionError(f"no worker below {home} has written {name}")


def test_a_job_outlives_its_machine(home: Path, designer: ComfyUIProcess, client: Client) -> None:
    """What came home before the machine died is not brought a second time."""
    graph = slow(0, prefix="before", grey=0.83)
    late = slow(5, prefix="after", grey=0.84)
    graph |= {f"{node_id}0": node for node_id, node in late.items()}
    graph["20"]["inputs"]["images"] = ["10", 0]
    # The second picture waits for the first one.
    graph["3"] = {"class_type": "GetImageSize", "inputs": {"image": ["1", 0]}}
    graph["10"]["inputs"]["batch"] = ["3", 2]
    job = client.queue(graph, aws={})
    client.hear("executed", job, node="2")
    worker_that_wrote("before_*.png", home).kill()
    entry = client.end(job)
    assert entry["status"]["status_str"] == "success"
    messages = [kind for kind, _ in entry["status"]["messages"]]
    assert messages == ["execution_start", "execution_cached", "execution_success"]
    seen = client.job(job)
    assert (seen["state"], seen["facts"]["tries"]) == ("succeeded", 2)
    files = {file["node_id"]: file["filename"] for file in seen["facts"]["files"]}
    assert files == {"2": saved(entry)[0], "20": saved(entry, "20")[0]}
    written = {path.name for path in (designer.base_dir / "output").iterdir()}
    assert {name for name in written if name.startswith(("before", "after"))} == {*files.values()}


def test_files_that_nodes_save_and_do_not_name_come_home(
    designer: ComfyUIProcess, client: Client
) -> None:
    """ComfyUI's own nodes that save models say nothing of their files."""

    def models() -> dict[str, tuple[Any, bytes]]:
        folder = designer.base_dir / "output" / "diffusion_models"
        return {path.name: parts(path.read_bytes()) for path in sorted(folder.glob("*"))}

    def parts(body: bytes) -> tuple[Any, bytes]:
        """Header and tensors; only the order of the header is chance."""
        end = 8 + int.from_bytes(body[:8], "little")
        return json.loads(body[8:end]), body[end:]

    name = Path(pipeline.MODELS[0]).name
    prompt = {
        "1": {
            "class_type": "UNETLoader",
            "inputs": {"unet_name": name, "weight_dtype": "default"},
        },
        "2": {
            "class_type": "ModelSave",
            "inputs": {"model": ["1", 0], "filename_prefix": "diffusion_models/kept"},
        },
    }
    client.end(client.queue(prompt))
    assert models().keys() == {"kept_00001_.safetensors"}
    job = client.queue(prompt, aws={})
    client.end(job)
    local, cloud = models().values()
    assert models().keys() == {"kept_00001_.safetensors", "kept_00002_.safetensors"}
    assert cloud == local
    (file,) = client.job(job)["facts"]["files"]
    assert (file["filename"], file["subfolder"]) == ("kept_00002_.safetensors", "diffusion_models")


def test_a_large_file_is_told_of_while_it_comes_home(
    designer: ComfyUIProcess, client: Client
) -> None:
    size = 256 * 1024**2
    inputs = {"name": "large.bin", "mebibytes": size // 1024**2}
    job = client.queue({"1": {"class_type": "LargeFile", "inputs": inputs}}, aws={})
    client.end(job)
    seen = [data["job"] for kind, data in client.messages if kind == "aws.job"]
    fetches = [view for view in seen if view["id"] == job and view["phase"]
               and view["phase"]["phase"] == "fetch"]  # fmt: skip
    assert fetches
    assert {view["state"] for view in fetches} == {"running"}
    counts = [view["phase"]["done"] for view in fetches]
    assert counts == sorted(set(counts))
    assert {view["phase"]["total"] for view in fetches} == {size}
    assert (designer.base_dir / "output" / "large.bin").stat().st_size == size
    client.wait_state(job, "succeeded")
    assert client.job(job)["phase"] is None
