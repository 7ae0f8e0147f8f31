"""deploy/install_designer.py: what it writes for nginx and systemd, and what the stack tells it."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from comfy_aws import bundle, cli
from deploy import install_designer
from deploy.install_designer import Designer

ROOT = Path(__file__).resolve().parents[2]
DESIGNER = Designer(
    region="eu-west-1", bucket="b", role="arn:r", repository="registry/worker",
    comfyui="0.3.75", ports=2, login="arn:s",
)  # fmt: skip


def test_the_stack_gives_every_option():
    text = (ROOT / "deploy/stack.yaml").read_text()
    _, _, call = text.partition("install_designer.py \\\n")
    given = set(re.findall(r"--(\w+) ", call.partition("\n  Designer")[0]))
    assert given == set(Designer.__dataclass_fields__)


def test_the_image_is_the_one_that_deploy_builds(tmp_path):
    packed = bundle.pack()
    archive = tmp_path / "source.zip"
    archive.write_bytes(packed.body)
    text = install_designer.environment(DESIGNER, install_designer.digest(archive))
    values = dict(line.split("=", 1) for line in text.splitlines())
    assert values["COMFY_AWS_IMAGE"] == f"registry/worker:0.3.75-{packed.tag}"
    assert (values["COMFY_AWS_TARGET"], values["COMFY_AWS_BUCKET"]) == ("aws", "b")


ROOT_DISK = {"path": "/dev/nvme0n1", "model": install_designer.EBS, "fstype": None,
             "children": [{"path": "/dev/nvme0n1p1", "mountpoint": "/"}]}  # fmt: skip
OWN_DISK = {"path": "/dev/nvme1n1", "model": "Amazon EC2 NVMe Instance Storage", "fstype": None}
VOLUME = {"path": "/dev/nvme2n1", "model": f"{install_designer.EBS}  ", "fstype": "ext4"}


@pytest.mark.parametrize(
    ("devices", "found"),
    [([ROOT_DISK, OWN_DISK, VOLUME], VOLUME), ([ROOT_DISK, OWN_DISK], None), ([], None)],
)
def test_the_models_volume_is_told_from_other_disks(devices, found):
    assert install_designer.models_disk(devices) is found


def test_nobody_reaches_comfyui_but_through_login_and_tls():
    text = install_designer.nginx(2, "10.0.0.5")
    servers = text.split("\nserver {")[1:]
    assert re.findall(r"listen (\S+) ssl;", text) == [
        "10.0.0.5:443", "10.0.0.5:10001", "10.0.0.5:10002",
    ]  # fmt: skip
    assert len(re.findall(r"listen ", text)) == len(servers) == 3
    for server in servers:
        assert 'auth_basic "ComfyUI";' in server
        assert f"auth_basic_user_file {install_designer.PASSWORDS};" in server
        assert "error_page 502 503 504 /starting.html;" in server
    inside = re.findall(r"proxy_pass http://127\.0\.0\.1:(\d+);", text)
    assert inside == ["8188", "10001", "10002"]
    assert text.count("{") == text.count("}")


def test_the_services_listen_on_loopback_and_are_not_root():
    units = install_designer.units(DESIGNER)
    assert set(units) == {"comfy.service", "comfy-port@.service", "comfy-update.service"}
    assert "--listen 127.0.0.1 --port 8188" in units["comfy.service"]
    for name in ("comfy.service", "comfy-port@.service"):
        assert "\nUser=comfy\n" in units[name]
        assert f"EnvironmentFile={install_designer.ENVIRONMENT}" in units[name]
    assert "install_designer.py --update" in units["comfy-update.service"]
    assert install_designer.port_unit(10001) == "comfy-port@10001"
    assert set(install_designer.units(Designer(**{**vars(DESIGNER), "ports": 0}))) == {
        "comfy.service", "comfy-update.service",
    }  # fmt: skip


def test_an_inference_port_is_started_by_a_command_that_there_is():
    unit = install_designer.units(DESIGNER)["comfy-port@.service"]
    [command] = re.findall(r"^ExecStart=\S+ -m comfy_aws\.cli (.+)$", unit, re.MULTILINE)
    arguments = cli._parser().parse_args(command.replace("%i", "10002").split())
    assert (arguments.first, arguments.count, arguments.listen) == (10002, 1, "127.0.0.1")


def test_the_stack_is_told_the_fingerprint():
    heard = []

    class Ready(BaseHTTPRequestHandler):
        def do_PUT(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.headers["Content-Type"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Ready)
    threading.Thread(target=server.handle_request, daemon=True).start()
    install_designer.signal(f"http://127.0.0.1:{server.server_port}/", "AB:CD")
    server.server_close()
    [(kind, said)] = heard
    assert not kind  # the URL is signed for none
    assert (said["Status"], said["UniqueId"], said["Data"]) == ("SUCCESS", "designer", "AB:CD")
