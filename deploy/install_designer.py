"""Makes an Ubuntu machine with an NVIDIA driver a designer, and keeps it up to date.

The stack's UserData runs it once with all options; they are kept in /etc/comfy-aws.json, and
`comfy-update` runs it again at each start of the machine, to take a new version of the extension.

ComfyUI (`comfy`) and the inference ports (`comfy-port@10001` and up) listen on loopback. nginx
stands before them with a login and TLS, and shows a page while they start. Models, node packs,
inputs and outputs lie on the models volume. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import install_worker

HERE = Path("/opt/comfy-aws")
COMFYUI = Path("/opt/comfyui")
VENV = Path("/opt/comfyui-venv")
BASE = Path("/srv/comfy")
"""The models volume: ComfyUI's base directory."""
SETTINGS = Path("/etc/comfy-aws.json")
ENVIRONMENT = Path("/etc/comfy-aws.env")
TLS = Path("/etc/nginx/comfy-tls")
PASSWORDS = Path("/etc/nginx/comfy-passwords")
UNITS = Path("/etc/systemd/system")
USER = "comfy"
EXTENSION = "prompt-on-aws"
MANAGER = "https://github.com/Comfy-Org/ComfyUI-Manager"
"""It updates itself from there, so no version is chosen here."""
DESIGNER_PORT = 8188
FIRST_PORT = 10001
EBS = "Amazon Elastic Block Store"
VOLUME_SECONDS = 900
CERTIFICATE_DAYS = 3650


@dataclass(frozen=True)
class Designer:
    """What the stack says of the machine. `ready` is the URL that awaits the first success."""

    region: str
    bucket: str
    role: str
    repository: str
    comfyui: str
    ports: int
    login: str
    ready: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.update:
        update(Designer(**json.loads(SETTINGS.read_text())))
        return 0
    designer = Designer(**{each.name: getattr(options, each.name) for each in fields(Designer)})
    SETTINGS.write_text(json.dumps(asdict(replace(designer, ready=""))))
    install(designer)
    signal(designer.ready, fingerprint())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Make this machine a designer.")
    parser.add_argument("--update", action="store_true", help="take a new version, if there is one")
    for each in fields(Designer):
        parser.add_argument(f"--{each.name}", type=int if each.name == "ports" else str, default="")
    return parser


# -- install and update ------------------------------------------------------------------------


def install(designer: Designer) -> None:
    run("apt-get", "update")
    run("apt-get", "install", "--yes", "nginx", "python3-venv", "ffmpeg", "git")
    mount_models()
    run("useradd", "--system", "--home-dir", str(BASE), "--shell", "/usr/sbin/nologin", USER)
    install_worker.fetch_comfyui(designer.comfyui, COMFYUI)
    run(sys.executable, "-m", "venv", str(VENV))
    python = str(VENV / "bin/python")
    install_worker.install_torch(python)
    install_worker.install_requirements(python, COMFYUI / "requirements.txt")
    run("git", "clone", "--depth", "1", MANAGER, str(BASE / "custom_nodes/comfyui-manager"))
    manager = BASE / "custom_nodes/comfyui-manager/requirements.txt"
    install_worker.install_requirements(python, manager)
    run("chown", "--recursive", f"{USER}:", str(BASE))
    take_extension(designer)
    make_login(designer)
    make_certificate()
    for name, text in units(designer).items():
        (UNITS / name).write_text(text)
    Path("/etc/nginx/sites-enabled/default").unlink(missing_ok=True)
    Path("/etc/nginx/conf.d/comfy.conf").write_text(nginx(designer.ports))
    Path("/var/www/html/starting.html").write_text(STARTING)
    run("systemctl", "daemon-reload")
    services = ["comfy-update", "comfy", *map(port_unit, port_numbers(designer.ports))]
    run("systemctl", "enable", *services)
    run("systemctl", "restart", "comfy", *map(port_unit, port_numbers(designer.ports)), "nginx")


def update(designer: Designer) -> None:
    """Take the bundle in the bucket, unless it is the one that is here."""
    archive = HERE / "source.zip"
    known = digest(archive)
    source = f"s3://{designer.bucket}/deploy/source.zip"
    run("aws", "s3", "cp", "--region", designer.region, source, str(archive))
    if digest(archive) != known:
        shutil.rmtree(HERE / "source", ignore_errors=True)
        with zipfile.ZipFile(archive) as bundle:
            bundle.extractall(HERE / "source")
        take_extension(designer)


def take_extension(designer: Designer) -> None:
    """Put the unpacked bundle into custom_nodes, with its packages and its settings."""
    source, target = HERE / "source", BASE / "custom_nodes" / EXTENSION
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    python = str(VENV / "bin/python")
    install_worker.install_requirements(python, target / "requirements.txt")
    ENVIRONMENT.write_text(environment(designer, digest(HERE / "source.zip")))
    # ComfyUI-Manager updates node packs and installs their packages as the services' user.
    run("chown", "--recursive", f"{USER}:", str(target), str(VENV))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def environment(designer: Designer, bundle: str) -> str:
    """What the services are told; the image's tag is that of `comfy-aws deploy`."""
    values = {
        "AWS_REGION": designer.region,
        "COMFY_AWS_TARGET": "aws",
        "COMFY_AWS_BUCKET": designer.bucket,
        "COMFY_AWS_EXECUTION_ROLE": designer.role,
        "COMFY_AWS_IMAGE": f"{designer.repository}:{designer.comfyui}-{bundle[:16]}",
        "COMFY_AWS_HOME": str(BASE / ".comfy-aws"),
        "PYTHONPATH": str(BASE / "custom_nodes" / EXTENSION / "src"),
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


# -- the models volume -------------------------------------------------------------------------


def mount_models() -> None:
    """Mount the attached volume at BASE, formatted if it is blank. It may come after us."""
    until = time.monotonic() + VOLUME_SECONDS
    while (disk := models_disk(block_devices())) is None:
        if time.monotonic() > until:
            raise SystemExit(f"The models volume was not attached within {VOLUME_SECONDS} seconds.")
        time.sleep(5)
    if not disk["fstype"]:
        run("mkfs.ext4", "-L", "comfy-models", disk["path"])
    BASE.mkdir(parents=True, exist_ok=True)
    with Path("/etc/fstab").open("a") as table:
        table.write(f"LABEL=comfy-models {BASE} ext4 defaults,nofail 0 2\n")
    run("mount", str(BASE))
    for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
        (BASE / name).mkdir(exist_ok=True)


def block_devices() -> list[dict[str, Any]]:
    columns = "PATH,MODEL,FSTYPE,MOUNTPOINT"
    found = subprocess.run(
        ["lsblk", "--json", "--output", columns], check=True, capture_output=True, text=True
    )
    return list(json.loads(found.stdout)["blockdevices"])


def models_disk(devices: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The EBS volume that is not the root's; the machine may have disks of its own besides."""
    for device in devices:
        if (device.get("model") or "").strip() == EBS and not device.get("children"):
            return device
    return None


# -- login, certificate, proxy -------------------------------------------------------------------


def make_login(designer: Designer) -> None:
    secret = subprocess.run(
        [
            "aws", "secretsmanager", "get-secret-value", "--region", designer.region,
            "--secret-id", designer.login, "--query", "SecretString", "--output", "text",
        ],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    login = json.loads(secret)
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"],
        check=True, capture_output=True, text=True, input=login["password"],
    ).stdout.strip()  # fmt: skip
    PASSWORDS.write_text(f"{login['username']}:{hashed}\n")
    PASSWORDS.chmod(0o640)
    shutil.chown(PASSWORDS, group="www-data")


def make_certificate() -> None:
    """A certificate of our own: no authority can reach a machine that lets in one network alone."""
    TLS.mkdir(mode=0o700, exist_ok=True)
    run(
        "openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-subj", "/CN=comfy-on-aws",
        "-days", str(CERTIFICATE_DAYS), "-keyout", str(TLS / "key.pem"),
        "-out", str(TLS / "certificate.pem"),
    )  # fmt: skip


def fingerprint() -> str:
    shown = subprocess.run(
        ["openssl", "x509", "-in", str(TLS / "certificate.pem"), "-noout", "-fingerprint",
         "-sha256"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return shown.partition("=")[2].strip()


STARTING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<title>ComfyUI is starting</title>
<body style="font: 16px sans-serif; margin: 20vh auto; max-width: 32em">
<h1>ComfyUI is starting</h1>
<p>This page opens it as soon as it answers, which takes a minute or two.</p>
</body>
</html>
"""

_SERVER = """
server {{
    # The ports of ComfyUI itself are taken on loopback.
    listen {address}:{outside} ssl;
    ssl_certificate {tls}/certificate.pem;
    ssl_certificate_key {tls}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    auth_basic "ComfyUI";
    auth_basic_user_file {passwords};
    client_max_body_size 0;
    error_page 502 503 504 /starting.html;
    location = /starting.html {{
        root /var/www/html;
        internal;
    }}
    location / {{
        proxy_pass http://127.0.0.1:{inside};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $comfy_connection;
        # ComfyUI has no use for it, and a node pack must not see it.
        proxy_set_header Authorization "";
        proxy_buffering off;
        proxy_request_buffering off;
        proxy_read_timeout 1d;
    }}
}}
"""


def nginx(ports: int, address: str = "") -> str:
    """The proxy's configuration: the designer at 443, each inference port at its own number."""
    address = address or own_address()
    servers = [(443, DESIGNER_PORT), *((port, port) for port in port_numbers(ports))]
    text = 'map $http_upgrade $comfy_connection {\n    default upgrade;\n    "" "";\n}\n'
    return text + "".join(
        _SERVER.format(
            address=address, outside=outside, inside=inside, tls=TLS, passwords=PASSWORDS
        )
        for outside, inside in servers
    )


def own_address() -> str:
    """The machine's address in its network; it stays for the machine's life."""
    shown = subprocess.run(
        ["ip", "-json", "route", "get", "1.1.1.1"], check=True, capture_output=True, text=True
    ).stdout
    return str(json.loads(shown)[0]["prefsrc"])


# -- units ---------------------------------------------------------------------------------------

_UNIT = """[Unit]
Description={description}
After=network-online.target comfy-update.service
Wants=network-online.target
RequiresMountsFor={base}

[Service]
User={user}
# For the page's view of this machine's journal and of cloud-init's log.
SupplementaryGroups=systemd-journal adm
EnvironmentFile={environment}
WorkingDirectory={base}
ExecStart={command}
Restart=always
RestartSec=5
NoNewPrivileges=true
ProtectSystem=strict
PrivateTmp=true
ReadWritePaths={base} {venv}

[Install]
WantedBy=multi-user.target
"""
_UPDATE = f"""[Unit]
Description=A new version of Prompt on AWS, if there is one
After=network-online.target
Wants=network-online.target
RequiresMountsFor={BASE}
Before=comfy.service nginx.service

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 {HERE}/source/deploy/install_designer.py --update

[Install]
WantedBy=multi-user.target
"""


def units(designer: Designer) -> dict[str, str]:
    """systemd units by their file names."""
    python = VENV / "bin/python"
    comfy = (
        f"{python} {COMFYUI}/main.py --listen 127.0.0.1 --port {DESIGNER_PORT} "
        f"--base-directory {BASE}"
    )
    made = {"comfy.service": _unit("ComfyUI, the designer", comfy), "comfy-update.service": _UPDATE}
    if designer.ports:
        port = f"{python} -m comfy_aws.cli port --first %i --comfyui {COMFYUI}"
        made["comfy-port@.service"] = _unit("Inference port %i", port)
    return made


def _unit(description: str, command: str) -> str:
    return _UNIT.format(
        description=description,
        command=command,
        base=BASE,
        user=USER,
        environment=ENVIRONMENT,
        venv=VENV,
    )


def port_numbers(ports: int) -> range:
    return range(FIRST_PORT, FIRST_PORT + ports)


def port_unit(port: int) -> str:
    return f"comfy-port@{port}"


# -- shared --------------------------------------------------------------------------------------


def signal(url: str, text: str) -> None:
    """Tell the stack that the designer is there."""
    body = {"Status": "SUCCESS", "Reason": "installed", "UniqueId": "designer", "Data": text}
    request = urllib.request.Request(  # noqa: S310 – CloudFormation's own URL
        url, json.dumps(body).encode(), {"Content-Type": ""}, method="PUT"
    )
    urllib.request.urlopen(request, timeout=60).close()  # noqa: S310


def run(*command: str) -> None:
    install_worker.run(command)


if __name__ == "__main__":
    sys.exit(main())
