"""Settings: who wins, and what is said of a damaged file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_aws import config
from comfy_aws.errors import ConfigError, InvalidName

VARIABLES = {
    "target": "COMFY_AWS_TARGET", "bucket": "COMFY_AWS_BUCKET", "region": "AWS_REGION",
    "profile": "AWS_PROFILE", "execution_role": "COMFY_AWS_EXECUTION_ROLE",
    "image": "COMFY_AWS_IMAGE", "endpoint": "COMFY_AWS_ENDPOINT",
    "comfyui": "COMFY_AWS_COMFYUI", "runner_args": "COMFY_AWS_RUNNER_ARGS",
    "fetch_private": "COMFY_AWS_FETCH_PRIVATE", "webhook_private": "COMFY_AWS_WEBHOOK_PRIVATE",
    "cost_limit_job": "COMFY_AWS_COST_LIMIT_JOB",
    "cost_limit_month": "COMFY_AWS_COST_LIMIT_MONTH",
    "cost_limit_user": "COMFY_AWS_COST_LIMIT_USER", "idle_guard": "COMFY_AWS_IDLE_GUARD",
}  # fmt: skip


def test_the_table_of_variables_is_whole():
    assert set(VARIABLES) == config.SAVED


@pytest.mark.parametrize(("name", "variable"), VARIABLES.items())
def test_variable_before_setting_before_default(tmp_path, name, variable):
    amounts = ("1", "0.5")
    special = {"target": ("local", "aws"), "fetch_private": ("1", "0"),
               "webhook_private": ("1", "0"),
               "cost_limit_job": amounts, "cost_limit_month": amounts,
               "cost_limit_user": amounts, "idle_guard": ("30", "90")}  # fmt: skip
    here, there = special.get(name, ("here", "there"))
    assert getattr(config.load(tmp_path, {}), name) == ""
    config.save(tmp_path, **{name: there})
    assert getattr(config.load(tmp_path, {}), name) == there
    assert getattr(config.load(tmp_path, {variable: here}), name) == here
    assert getattr(config.load(tmp_path, {variable: ""}), name) == there


@pytest.mark.parametrize("text", ["0", "-1", "a lot", "1e9", "nan"])
def test_a_cost_limit_is_an_amount(tmp_path, text):
    with pytest.raises(ConfigError, match="cost_limit_job is an amount in USD above 0"):
        config.save(tmp_path, cost_limit_job=text)


@pytest.mark.parametrize("text", ["0", "-5", "0.5", "an hour", "100000"])
def test_an_idle_guard_is_a_number_of_minutes(tmp_path, text):
    with pytest.raises(ConfigError, match="idle_guard is a whole number of minutes"):
        config.save(tmp_path, idle_guard=text)
    assert config.load(tmp_path, {}).guard_seconds is None
    config.save(tmp_path, idle_guard="30")
    assert config.load(tmp_path, {}).guard_seconds == 1800


def test_second_names_of_variables(tmp_path):
    env = {"AWS_DEFAULT_REGION": "eu-west-1", "COMFYUI_PATH": "/opt/comfyui"}
    loaded = config.load(tmp_path, env)
    assert (loaded.region, loaded.comfyui) == ("eu-west-1", "/opt/comfyui")
    assert config.load(tmp_path, {**env, "AWS_REGION": "us-east-1"}).region == "us-east-1"


def test_a_bucket_alone_means_aws(tmp_path):
    assert config.load(tmp_path, {"COMFY_AWS_BUCKET": "b"}).target == "aws"
    assert config.load(tmp_path, {}).target == ""


def test_saving_keeps_the_other_settings(tmp_path):
    config.save(tmp_path / "new", bucket="b", region="r")
    config.save(tmp_path / "new", bucket="c")
    assert json.loads((tmp_path / "new/settings.json").read_text()) == {
        "bucket": "c",
        "region": "r",
    }
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["settings.json"]


def test_settings_are_private(tmp_path):
    config.save(tmp_path, bucket="b")
    assert (tmp_path / "settings.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"nonsense": "x"}, ConfigError), ({"target": "moon"}, ConfigError),
     ({"endpoint": "-"}, InvalidName)],
)  # fmt: skip
def test_what_may_not_be_saved_changes_nothing(tmp_path, changes, error):
    config.save(tmp_path, bucket="b")
    with pytest.raises(error):
        config.save(tmp_path, **changes)
    assert config.load(tmp_path, {}).bucket == "b"
    assert json.loads((tmp_path / "settings.json").read_text()) == {"bucket": "b"}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"x"', "null", '{"bucket": null}', '{"bucket": 5}', '{"bucket": ["b"]}'],
)
def test_a_damaged_file_is_named_and_kept(tmp_path, text):
    path = tmp_path / "settings.json"
    path.write_text(text)
    for act in (lambda: config.load(tmp_path, {}), lambda: config.save(tmp_path, bucket="b")):
        with pytest.raises(ConfigError, match=r"settings\.json") as caught:
            act()
        assert caught.value.hint
    assert path.read_text() == text


def test_settings_that_are_no_utf_8(tmp_path):
    (tmp_path / "settings.json").write_bytes(b'{"bucket": "\xff"}')
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path, {})


@pytest.mark.parametrize(
    ("route", "everything", "template"),
    [("", False, ""), ("always", True, ""), ("always:Abc", True, "Abc")],
)
def test_route(tmp_path, route, everything, template):
    loaded = config.load(tmp_path, {"COMFY_AWS_ROUTE": route})
    assert (loaded.routes_all, loaded.route_template) == (everything, template)


@pytest.mark.parametrize("route", ["never", "alwaysx", ":x", "always:../x"])
def test_bad_route(tmp_path, route):
    with pytest.raises((ConfigError, InvalidName)):
        config.load(tmp_path, {"COMFY_AWS_ROUTE": route})


def test_home():
    assert config.default_home({}) == Path.home() / ".comfy-aws"
    assert config.default_home({"COMFY_AWS_HOME": "/x"}) == Path("/x")
    assert config.default_home({"COMFY_AWS_HOME": "x"}) == Path.cwd() / "x"
    assert config.default_home({"COMFY_AWS_HOME": "~/x"}) == Path.home() / "x"


def test_worker():
    env = {
        "COMFY_AWS_BUCKET": "b", "AWS_REGION": "r", "SAGEMAKER_BIND_TO_PORT": "9001",
        "COMFY_AWS_RUNNER_ARGS": "--cpu --x 'a b'", "COMFY_AWS_CACHE_BYTES": "7",
        "COMFY_AWS_WARM_TEMPLATE": "T", "COMFYUI_PATH": "/c", "COMFY_AWS_WORKER_DIR": "/w",
    }  # fmt: skip
    worker = config.load_worker(env)
    assert (worker.access.bucket, worker.access.region, worker.port) == ("b", "r", 9001)
    assert worker.runner_args == ("--cpu", "--x", "a b")
    assert (worker.cache_bytes, worker.warm) == (7, "T")
    assert (str(worker.comfyui), str(worker.directory)) == ("/c", "/w")
    assert config.load_worker({"COMFY_AWS_BUCKET": "b"}).port == 8080


@pytest.mark.parametrize(
    ("env", "name"),
    [({}, "COMFY_AWS_BUCKET"),
     ({"COMFY_AWS_BUCKET": "b", "SAGEMAKER_BIND_TO_PORT": "80a"}, "SAGEMAKER_BIND_TO_PORT"),
     ({"COMFY_AWS_BUCKET": "b", "COMFY_AWS_CACHE_BYTES": "-1"}, "COMFY_AWS_CACHE_BYTES")],
)  # fmt: skip
def test_worker_without_what_it_needs(env, name):
    with pytest.raises(ConfigError, match=name):
        config.load_worker(env)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    config.write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        config.write_atomically(path, "half \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
