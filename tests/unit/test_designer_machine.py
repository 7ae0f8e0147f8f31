"""The designer machine: what is made of it at first and at each start, and what it is told."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import textwrap
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from comfy_aws import bundle, cli, deploy_plan
from deploy import install_designer
from deploy.install_designer import Designer, Wish, files, install_worker

SBIN = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))

ROOT = Path(__file__).resolve().parents[2]
DESIGNER = Designer(
    region="eu-west-1", bucket="b", role="arn:r", repository="registry/worker", login="arn:s",
    address="203.0.113.9", artists="arn:a",
)  # fmt: skip


def test_the_stack_gives_every_option():
    text = (ROOT / "deploy/stack.yaml").read_text()
    _, _, call = text.partition("install_designer.py \\\n")
    call = call.partition("\n  Designer")[0]
    assert set(re.findall(r"--(\w+) ", call)) == set(Designer.__dataclass_fields__)
    # Others than these would stop the machine whenever an option is changed.
    assert {"${ComfyUIVersion}", "${InferencePorts}", "${ModelsGiB}"}.isdisjoint(call.split())


def test_the_image_is_the_one_that_deploy_builds(machine):
    packed = bundle.pack()
    machine.take(packed.body)
    wish = Wish(packed.tag, "0.3.75", 0)
    install_designer.take_extension(DESIGNER, wish)
    lines = files.ENVIRONMENT.read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines)
    assert values["COMFY_AWS_IMAGE"] == f"registry/worker:0.3.75-{packed.tag}"
    assert (values["COMFY_AWS_TARGET"], values["COMFY_AWS_BUCKET"]) == ("aws", "b")
    assert (files.BASE / "custom_nodes/prompt-on-aws/src/comfy_aws/cli/__main__.py").exists()


# -- install and update: on a machine whose system's programs only write down what they are told ---

TOLD = """#!/bin/sh
echo "${0##*/} $*" >> "$MACHINE/told"
case "${0##*/} $1" in
    "aws s3") cp "$MACHINE/bucket/${5##*/}" "$6" ;;
    "aws secretsmanager") echo '{"username": "'"${6#arn:}"'", "password": "secret"}' ;;
    "runuser "*) shift 3; exec "$@" ;;
    "lsblk "*) cat "$MACHINE/disks" ;;
    "ip "*) echo '[{"prefsrc": "10.0.0.5"}]' ;;
    "apt-get "*) test ! -e "$MACHINE/locked" || { rm "$MACHINE/locked"; exit 100; } ;;
esac
"""
PROGRAMS = (
    "apt-get", "aws", "blkid", "chown", "git", "ip", "lsblk", "mount", "resize2fs", "runuser",
    "systemctl", "udevadm", "umount", "useradd", *([] if shutil.which("openssl") else ["openssl"]),
)  # fmt: skip
BUNDLE = {
    "deploy/install_designer.py": "import os, pathlib, sys\n"
    "pathlib.Path(os.environ['MACHINE'], 'new').write_text(' '.join(sys.argv[1:]))\n",
    "requirements.txt": "",
}


class Machine:
    """A designer machine below a folder: what it was told, and its bucket."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.bucket = root / "bucket"

    def told(self, program: str) -> list[str]:
        """What a program was called with, since this was last asked of any."""
        told = self._root / "told"
        lines = told.read_text().splitlines() if told.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{program} ")]

    def forget(self) -> None:
        (self._root / "told").unlink(missing_ok=True)

    def lock(self) -> None:
        """Let somebody else hold apt's lock for one try."""
        (self._root / "locked").touch()

    def take(self, body: bytes) -> None:
        """Have a bundle on the machine, unpacked."""
        (files.HERE / "new").mkdir(exist_ok=True)
        (files.HERE / "source.zip").write_bytes(body)
        install_designer.unpack(files.HERE / "source.zip")

    def deploy(self, body: bytes, comfyui: str, ports: int) -> None:
        """As `comfy-aws deploy` leaves the bucket."""
        (self.bucket / "source.zip").write_bytes(body)
        tag = install_designer.tag(self.bucket / "source.zip")
        known = {"ComfyUIVersion": comfyui, "InferencePorts": str(ports)}
        wish = deploy_plan.designer_wish(known, tag)
        (self.bucket / "designer.json").write_text(json.dumps(wish))

    def new_script(self) -> str:
        """How the script of a new bundle was called."""
        return (self._root / "new").read_text()


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Machine:
    places = {
        "HERE": "opt/comfy-aws", "COMFYUI": "opt/comfyui", "VENV": "opt/venv", "BASE": "srv",
        "NGINX": "nginx", "TLS": "nginx/tls", "PASSWORDS": "nginx/passwords",
        "PORT_PASSWORDS": "nginx/port-passwords", "PAGES": "pages",
        "UNITS": "units", "ENVIRONMENT": "environment", "FSTAB": "fstab", "SETTINGS": "settings",
    }  # fmt: skip
    for name, place in places.items():
        monkeypatch.setattr(files, name, tmp_path / place)
    folders = (
        "bin", "bucket", "nginx/conf.d", "nginx/sites-enabled", "opt/comfy-aws", "opt/venv/bin",
        "pages", "srv/custom_nodes", "units/multi-user.target.wants",
    )  # fmt: skip
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    for program in [*(tmp_path / "bin" / name for name in PROGRAMS),
                    tmp_path / "opt/venv/bin/python", tmp_path / "opt/venv/bin/pip"]:  # fmt: skip
        program.write_text(TOLD)
        program.chmod(0o755)
    (tmp_path / "fstab").touch()
    disks = [{"path": "/dev/nvme1n1", "model": install_designer.EBS}]
    (tmp_path / "disks").write_text(json.dumps({"blockdevices": disks}))
    for version in ("1.0.0", "1.1.0"):
        release = tmp_path / f"ComfyUI-{version}"
        release.mkdir()
        (release / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
        with tarfile.open(tmp_path / f"{version}.tar.gz", "w:gz") as tar:
            tar.add(release, release.name)
    monkeypatch.setattr(install_worker, "COMFYUI_URL", f"file://{tmp_path}/{{version}}.tar.gz")
    monkeypatch.setattr(install_designer, "APT_PAUSE", 0)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MACHINE", str(tmp_path))
    return Machine(tmp_path)


def zipped(**changed: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in (BUNDLE | changed).items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return made.getvalue()


def image() -> str:
    return re.search("COMFY_AWS_IMAGE=(.+)", files.ENVIRONMENT.read_text())[1]


@pytest.fixture
def installed(machine) -> Machine:
    """A machine that was installed with one inference port."""
    body = zipped()
    machine.deploy(body, "1.0.0", 1)
    machine.take(body)
    install_designer.install(DESIGNER, Wish.read(machine.bucket / "designer.json"))
    for port in (10001, 10002):
        (files.UNITS / f"multi-user.target.wants/comfy-port@{port}.service").touch()
    machine.told_of_install = machine.told("runuser")
    assert "restart --no-block comfy comfy-port@10001" in machine.told("systemctl")
    machine.forget()
    return machine


def test_a_start_makes_the_machine_what_the_last_deploy_wants(installed):
    tag = install_designer.tag(files.HERE / "source.zip")
    assert image() == f"registry/worker:1.0.0-{tag}"
    body = zipped(new="file")
    installed.deploy(body, "1.1.0", 2)

    install_designer.update(DESIGNER)
    assert installed.new_script() == "--update"  # what the new version needs is its own to do
    assert image() == f"registry/worker:1.0.0-{tag}"

    install_designer.update(DESIGNER)
    new = install_designer.tag(installed.bucket / "source.zip")
    assert new != tag
    assert image() == f"registry/worker:1.1.0-{new}"
    assert install_designer.comfyui_version() == "1.1.0"
    assert (files.BASE / "custom_nodes/prompt-on-aws/new").read_text() == "file"
    assert "listen 10.0.0.5:10002 ssl;" in (files.NGINX / "conf.d/comfy.conf").read_text()
    assert "enable comfy-update comfy comfy-port@10001 comfy-port@10002" in (
        installed.told("systemctl")
    )
    assert installed.told("resize2fs")[0] == "/dev/nvme1n1"

    installed.forget()
    install_designer.update(DESIGNER)
    assert not installed.told("systemctl")
    assert not installed.told("runuser")
    assert len(installed.told("resize2fs")) == 1  # the volume is looked at every time


@pytest.mark.skipif("openssl" in PROGRAMS, reason="no certificates here")
def test_the_certificate_is_of_the_address_and_stays(installed):
    certificate = files.TLS / "certificate.pem"
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-ext", "subjectAltName"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "IP Address:203.0.113.9" in shown
    before = install_designer.fingerprint()
    install_designer.make_certificate("203.0.113.9")
    assert install_designer.fingerprint() == before


def test_ports_that_are_no_longer_wanted_stop(installed):
    installed.deploy(zipped(), "1.0.0", 1)
    (files.HERE / "installed.json").unlink()
    install_designer.update(DESIGNER)
    assert [line for line in installed.told("systemctl") if line.startswith("disable")] == [
        "disable --now --no-block comfy-port@10002"
    ]


def test_a_deploy_that_is_under_way_leaves_the_machine_as_it_is(installed):
    before = files.ENVIRONMENT.read_text()
    (installed.bucket / "source.zip").write_bytes(zipped(of="a deploy whose image is being built"))
    install_designer.update(DESIGNER)
    assert not installed.told("systemctl")

    (installed.bucket / "designer.json").write_text(
        json.dumps({"bundle": "of-another", "comfyui": "1.1.0", "ports": 1, "later": "more"})
    )
    install_designer.update(DESIGNER)
    assert not installed.told("systemctl")
    assert files.ENVIRONMENT.read_text() == before
    assert install_designer.tag(files.HERE / "source.zip") in before


def test_root_runs_nothing_that_the_services_can_write(installed):
    """A node pack is a program, and may change what lies in the environment of ComfyUI."""
    as_user = [line for line in installed.told_of_install if str(files.VENV) in line]
    assert len(as_user) >= 3
    assert all(line.startswith("--user comfy -- env HOME=") for line in as_user)
    installed.deploy(zipped(new="file"), "1.1.0", 1)
    installed.take(zipped(new="file"))
    install_designer.update(DESIGNER)
    by_user = [line for line in installed.told("runuser") if f"{files.VENV}/bin/python" in line]
    assert len(by_user) == len(installed.told("python")) >= 3


def test_apt_is_waited_for(machine):
    machine.lock()
    install_designer.apt("update")
    assert machine.told("apt-get") == ["--option DPkg::Lock::Timeout=600 update"] * 2


@pytest.mark.skipif(not shutil.which("mkfs.ext4", path=SBIN), reason="no file systems here")
def test_a_volume_with_something_on_it_is_not_formatted(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", SBIN)
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(4 * 1024 * 1024)
    assert install_designer.blank(str(disk))
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
    assert not install_designer.blank(str(disk))


ROOT_DISK = {"path": "/dev/nvme0n1", "model": install_designer.EBS,
             "children": [{"path": "/dev/nvme0n1p1"}]}  # fmt: skip
OWN_DISK = {"path": "/dev/nvme1n1", "model": "Amazon EC2 NVMe Instance Storage"}
VOLUME = {"path": "/dev/nvme2n1", "model": f"{install_designer.EBS}  "}


@pytest.mark.parametrize(
    ("devices", "found"),
    [([ROOT_DISK, OWN_DISK, VOLUME], VOLUME), ([ROOT_DISK, OWN_DISK], None), ([], None)],
)
def test_the_models_volume_is_told_from_other_disks(devices, found):
    assert install_designer.models_disk(devices) is found


def test_nobody_reaches_comfyui_but_through_login_and_tls():
    text = files.nginx(2, "10.0.0.5")
    servers = text.split("\nserver {")[1:]
    assert re.findall(r"listen (\S+) ssl;", text) == [
        "10.0.0.5:443", "10.0.0.5:10001", "10.0.0.5:10002",
    ]  # fmt: skip
    assert len(re.findall(r"listen ", text)) == len(servers) == 3
    for server, passwords in zip(
        servers, (files.PASSWORDS, files.PORT_PASSWORDS, files.PORT_PASSWORDS), strict=True
    ):
        assert 'auth_basic "ComfyUI";' in server
        assert f"auth_basic_user_file {passwords};" in server
        assert "error_page 502 503 504 /starting.html;" in server
        assert server.count("return 403;") == 2
    inside = re.findall(r"proxy_pass http://127\.0\.0\.1:(\d+);", text)
    assert inside == ["8188", "10001", "10002"]
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(("artists", "users"), [("arn:a", ["s", "a"]), ("", ["s"])])
def test_the_login_of_artists_opens_no_designer(machine, artists, users):
    install_designer.make_logins(replace(DESIGNER, artists=artists))
    assert users_of(files.PASSWORDS) == ["s"]
    assert users_of(files.PORT_PASSWORDS) == users
    places = (files.PASSWORDS, files.PORT_PASSWORDS)
    assert machine.told("chown") == [f"root:www-data {path}" for path in places]
    assert all(path.stat().st_mode & 0o777 == 0o640 for path in places)


def users_of(passwords: Path) -> list[str]:
    return [line.partition(":")[0] for line in passwords.read_text().splitlines()]


HOST = "203.0.113.9:10001"


@pytest.mark.parametrize(
    ("origin", "foreign"),
    [
        ("", "0"),  # no browser, or one that asks for the page
        (f"https://{HOST}", "0"),
        ("https://evil.example", "1"),
        (f"https://{HOST}.evil.example", "1"),
        (f"http://{HOST}", "1"),
        ("https://203.0.113.9", "1"),
        ("null", "1"),
    ],
)
def test_a_page_of_another_site_uses_no_login(origin, foreign):
    assert mapped("comfy_foreign_page", f"{origin} {HOST}") == foreign


@pytest.mark.parametrize(
    ("site", "path", "foreign"),
    [
        ("", "/manager/reboot", "0"),
        ("none", "/manager/reboot", "0"),
        ("same-origin", "/manager/reboot", "0"),
        ("cross-site", "/", "0"),
        ("cross-site", "/view", "0"),
        ("cross-site", "/viewers", "1"),
        ("cross-site", "/manager/reboot", "1"),
        ("same-site", "/manager/reboot", "1"),
    ],
)
def test_a_page_of_another_site_asks_for_the_page_alone(site, path, foreign):
    assert mapped("comfy_foreign_fetch", f"{site} {path}") == foreign


def mapped(name: str, value: str) -> str:
    """What a map of nginx makes of a value."""
    [rules] = re.findall(rf"\${name} \{{\n(.*?)\n\}}", files.nginx(0, "10.0.0.5"), re.DOTALL)
    [usual] = re.findall(r"default (\d);", rules)
    for case, pattern, result in re.findall(r'"~(\*?)(.+)" (\d);', rules):
        if re.search(pattern, value, re.IGNORECASE if case else 0):
            return result
    return usual


def test_the_services_listen_on_loopback_and_are_not_root():
    units = files.units(2)
    assert set(units) == {"comfy.service", "comfy-port@.service", "comfy-update.service"}
    assert "--listen 127.0.0.1 --port 8188" in units["comfy.service"]
    for name in ("comfy.service", "comfy-port@.service"):
        assert "\nUser=comfy\n" in units[name]
        assert f"EnvironmentFile={files.ENVIRONMENT}" in units[name]
    assert "install_designer.py --update" in units["comfy-update.service"]
    assert files.port_unit(10001) == "comfy-port@10001"
    assert set(files.units(0)) == {
        "comfy.service", "comfy-update.service",
    }  # fmt: skip


def test_an_inference_port_is_started_by_a_command_that_there_is():
    unit = files.units(2)["comfy-port@.service"]
    [command] = re.findall(r"^ExecStart=\S+ -m comfy_aws\.cli (.+)$", unit, re.MULTILINE)
    arguments = cli._parser().parse_args(command.replace("%i", "10002").split())
    assert (arguments.first, arguments.count, arguments.listen) == (10002, 1, "127.0.0.1")


@pytest.fixture
def ready():
    """The URL that awaits the machine's word, and what it has heard: content type and body."""
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
    yield f"http://127.0.0.1:{server.server_port}/", heard
    server.server_close()


def test_the_stack_is_told_the_fingerprint(ready):
    url, heard = ready
    install_designer.signal(url, "AB:CD")
    [(kind, said)] = heard
    assert not kind  # the URL is signed for none
    assert (said["Status"], said["UniqueId"], said["Data"]) == ("SUCCESS", "designer", "AB:CD")


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_the_stack_is_told_why_a_machine_was_not_made(ready, tmp_path, machine):
    """The machine is gone when somebody reads it, and its log with it."""
    url, heard = ready
    text = (ROOT / "deploy/stack.yaml").read_text()
    script = text.partition("Fn::Base64: !Sub |\n")[2].partition("\n  DesignerVolume:")[0]
    script = textwrap.dedent(script).replace("${DesignerReadyHandle}", url)
    script = re.sub(r"\$\{[\w:.]+\}", "x", script)
    log = tmp_path / "cloud-init-output.log"
    log.write_text("long ago\n" * 1000 + 'E: no "network" \N{BLACK STAR}\n')
    script = script.replace("/var/log/cloud-init-output.log", str(log))
    script = script.replace("/opt/comfy-aws", str(tmp_path / "opt/comfy-aws"))
    machine.deploy(zipped(**{"deploy/install_designer.py": "raise SystemExit(1)"}), "1.0.0", 0)
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode != 0, found
    [(kind, said)] = heard
    assert not kind
    assert (said["Status"], said["UniqueId"]) == ("FAILURE", "designer")
    assert said["Reason"].endswith('E: no "network" \N{BLACK STAR}\n')
    assert len(said["Reason"]) == 1000
    assert machine.told("umount") == ["/srv/comfy"]
