"""Makes an Ubuntu machine with an NVIDIA driver a designer, and keeps it up to date.

The stack's UserData runs it once, with what the stack says of the machine: that stays, and is kept
in /etc/comfy-aws.json. What may change is deploy/designer.json in the bucket, which `comfy-aws
deploy` and `update` write when all that it names is there. `comfy-update` runs this again at each
start of the machine, to become what that file wishes: the source bundle, ComfyUI, inference ports.

ComfyUI (`comfy`) and the inference ports (`comfy-port@10001` and up) listen on loopback. nginx
stands before them with a login and TLS, and shows a page while they start. Models, node packs,
inputs and outputs lie on the models volume. What root runs nobody else may write: packages and node
packs are the services' user's, who installs them. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pwd
import re
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
import designer_files as files
import install_worker

MANAGER = "https://github.com/Comfy-Org/ComfyUI-Manager"
"""It updates itself from there, so no version is chosen here."""
PACKAGES = ("nginx", "python3-venv", "ffmpeg", "git")
APT_TRIES = 20
APT_PAUSE = 15.0
"""Seconds between two tries."""
LOCK_SECONDS = 600
EBS = "Amazon Elastic Block Store"
VOLUME_SECONDS = 900
BLANK = 2
"""blkid's exit status for a disk that nobody has written to."""
CERTIFICATE_DAYS = 3650


@dataclass(frozen=True)
class Designer:
    """What the stack says of the machine.

    Args:
        login: secret with the user and the password of the designer's page.
        artists: the same, of the inference ports alone; empty on a machine of earlier versions.
        address: IPv4, at which its users reach it.
        ready: URL that awaits the first success.
    """

    region: str
    bucket: str
    role: str
    repository: str
    login: str
    address: str
    ready: str = ""
    artists: str = ""


@dataclass(frozen=True)
class Wish:
    """What the last deploy wants of the machine; `bundle` begins the source bundle's SHA-256."""

    bundle: str
    comfyui: str
    ports: int

    @classmethod
    def read(cls, path: Path) -> Wish | None:
        """None when there is none. A later version may wish for more than this one knows."""
        if not path.exists():
            return None
        found = json.loads(path.read_text())
        return cls(**{each.name: found[each.name] for each in fields(cls)})


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.update:
        update(Designer(**json.loads(files.SETTINGS.read_text())))
        return 0
    designer = Designer(**{each.name: getattr(options, each.name) for each in fields(Designer)})
    files.SETTINGS.write_text(json.dumps(asdict(replace(designer, ready=""))))
    wish = Wish.read(files.HERE / "designer.json")
    if wish is None:
        raise SystemExit("deploy/designer.json is missing: run comfy-aws deploy once more.")
    install(designer, wish)
    signal(designer.ready, fingerprint())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Make this machine a designer.")
    parser.add_argument("--update", action="store_true", help="become what the last deploy wants")
    for each in fields(Designer):
        parser.add_argument(f"--{each.name}", default="")
    return parser


# -- install and update ------------------------------------------------------------------------


def install(designer: Designer, wish: Wish) -> None:
    """Make the machine what is wished. What is there stays, so that a cut one is taken up again."""
    apt("update")
    apt("install", "--yes", *PACKAGES)
    make_user()
    mount_models()
    take_comfyui(wish.comfyui)
    take_packages()
    take_extension(designer, wish)
    make_logins(designer)
    make_certificate(designer.address)
    serve(wish.ports)
    _installed().write_text(json.dumps(asdict(wish)))


def update(designer: Designer) -> None:
    """Become what the last deploy wants; one that is under way, or has failed, changes nothing."""
    grow_models()
    wished, archive = files.HERE / "designer.json", files.HERE / "source.zip"
    fetch(designer, wished)
    wish = Wish.read(wished)
    if wish is None or wish == Wish.read(_installed()):
        return
    if tag(archive) == wish.bundle:
        install(designer, wish)
        return
    taken = files.HERE / "new" / archive.name
    taken.parent.mkdir(exist_ok=True)
    fetch(designer, taken)
    if tag(taken) != wish.bundle:
        print("A deploy is under way, or has failed; a later start takes it.", flush=True)
        return
    unpack(taken)
    taken.replace(archive)
    # The new version knows best what it needs.
    run(sys.executable, str(files.HERE / "source/deploy/install_designer.py"), "--update")


def fetch(designer: Designer, target: Path) -> None:
    source = f"s3://{designer.bucket}/deploy/{target.name}"
    run("aws", "s3", "cp", "--region", designer.region, source, str(target))


def unpack(archive: Path) -> None:
    """Put the bundle's files in place of the earlier one's."""
    new, source = files.HERE / "new" / "source", files.HERE / "source"
    shutil.rmtree(new, ignore_errors=True)
    with zipfile.ZipFile(archive) as bundle:
        bundle.extractall(new)
    shutil.rmtree(source, ignore_errors=True)
    new.replace(source)


def _installed() -> Path:
    return files.HERE / "installed.json"


def tag(archive: Path) -> str:
    """As `comfy-aws deploy` names the image that is made of a bundle."""
    return hashlib.sha256(archive.read_bytes()).hexdigest()[:16]


def make_user() -> None:
    try:
        pwd.getpwnam(files.USER)
    except KeyError:
        home = ("--home-dir", str(files.BASE), "--shell", "/usr/sbin/nologin")
        run("useradd", "--system", *home, files.USER)


def take_comfyui(version: str) -> None:
    """Put this version in place of the one that is there; nothing of its user's lies in it."""
    if comfyui_version() == version:
        return
    new = files.COMFYUI.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    install_worker.fetch_comfyui(version, new)
    shutil.rmtree(files.COMFYUI, ignore_errors=True)
    new.rename(files.COMFYUI)


def comfyui_version() -> str:
    """Empty when there is none."""
    try:
        text = (files.COMFYUI / "comfyui_version.py").read_text()
    except FileNotFoundError:
        return ""
    found = re.search(r'__version__ = "([^"]+)"', text)
    return found[1] if found else ""


def take_packages() -> None:
    """Python's packages: ComfyUI's, and those of the packs, which a snapshot brings without."""
    if not (files.VENV / "bin/pip").exists():
        files.VENV.mkdir(exist_ok=True)
        run("chown", f"{files.USER}:", str(files.VENV))
        as_user(sys.executable, "-m", "venv", str(files.VENV))
    pip("--index-url", install_worker.TORCH_INDEX, *install_worker.TORCH)
    pip("--requirement", str(files.COMFYUI / "requirements.txt"))
    packs = files.BASE / "custom_nodes"
    manager = packs / "comfyui-manager"
    if not manager.exists():
        as_user("git", "clone", "--depth", "1", MANAGER, str(manager))
    if _installed().exists():
        return
    for needs in sorted(packs.glob("*/requirements.txt")):
        try:
            pip("--requirement", str(needs))
        except subprocess.CalledProcessError:
            print(f"{needs} cannot be met; ComfyUI says which pack does not load.", flush=True)


def take_extension(designer: Designer, wish: Wish) -> None:
    """Put the unpacked bundle into custom_nodes, with its packages and its settings."""
    source, target = files.HERE / "source", files.BASE / "custom_nodes" / files.EXTENSION
    # As the user who owns the folder: whoever owns it could lead root elsewhere by a link.
    as_user("rm", "--recursive", "--force", str(target))
    as_user("cp", "--recursive", str(source), str(target))
    pip("--requirement", str(target / "requirements.txt"))
    image = f"{designer.repository}:{wish.comfyui}-{tag(files.HERE / 'source.zip')}"
    files.ENVIRONMENT.write_text(
        files.environment(designer.region, designer.bucket, designer.role, image)
    )


def serve(ports: int) -> None:
    """Write what nginx and systemd read, and have them start what it says."""
    for name, text in files.units(ports).items():
        (files.UNITS / name).write_text(text)
    added = files.UNITS / "nginx.service.d"
    added.mkdir(exist_ok=True)
    (added / "comfy.conf").write_text(files.NGINX_UNIT)
    (files.NGINX / "sites-enabled/default").unlink(missing_ok=True)
    (files.NGINX / "conf.d/comfy.conf").write_text(files.nginx(ports, own_address()))
    (files.PAGES / "starting.html").write_text(files.STARTING)
    wanted = ["comfy", *map(files.port_unit, files.port_numbers(ports))]
    enabled = (files.UNITS / "multi-user.target.wants").glob("comfy-port@*.service")
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "comfy-update", *wanted)
    for name in sorted({path.stem for path in enabled} - set(wanted)):
        run("systemctl", "disable", "--now", "--no-block", name)
    # At a start of the machine these wait for this very program, so it cannot wait for them.
    run("systemctl", "restart", "--no-block", *wanted)
    run("systemctl", "reload-or-restart", "nginx")


# -- the models volume -------------------------------------------------------------------------


def mount_models() -> None:
    """Mount the attached volume at BASE, formatted if it is blank. It may come after us."""
    if files.BASE.is_mount():
        return
    until = time.monotonic() + VOLUME_SECONDS
    while (disk := models_disk(block_devices())) is None:
        if time.monotonic() > until:
            raise SystemExit(f"The models volume was not attached within {VOLUME_SECONDS} seconds.")
        time.sleep(5)
    if blank(disk["path"]):
        run("mkfs.ext4", "-L", "comfy-models", disk["path"])
    files.BASE.mkdir(parents=True, exist_ok=True)
    line = f"LABEL=comfy-models {files.BASE} ext4 defaults,nofail 0 2\n"
    if line not in files.FSTAB.read_text():
        with files.FSTAB.open("a") as table:
            table.write(line)
    run("udevadm", "settle")  # until the label is known
    run("mount", str(files.BASE))
    grow_models()  # a volume can be larger than the snapshot that it came from
    for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
        (files.BASE / name).mkdir(exist_ok=True)
    run("chown", "--recursive", f"{files.USER}:", str(files.BASE))


def blank(path: str) -> bool:
    """Whether nothing is on a disk. Asked of the disk itself: what lsblk knows may be late."""
    found = subprocess.run(["blkid", "--probe", path], check=False, capture_output=True, text=True)
    if found.returncode not in (0, BLANK):
        raise SystemExit(f"What is on {path} cannot be told: {found.stderr.strip()}")
    return found.returncode == BLANK


def grow_models() -> None:
    """Let the file system fill its volume, which a deploy may have made larger."""
    disk = models_disk(block_devices())
    if disk is not None:
        run("resize2fs", disk["path"])


def block_devices() -> list[dict[str, Any]]:
    columns = "PATH,MODEL"
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


# -- logins, certificate -----------------------------------------------------------------------


def make_logins(designer: Designer) -> None:
    """Who designs may see what artists see, and not the other way round."""
    own = password_line(designer.region, designer.login)
    artists = password_line(designer.region, designer.artists) if designer.artists else ""
    for path, lines in ((files.PASSWORDS, own), (files.PORT_PASSWORDS, own + artists)):
        path.write_text(lines)
        path.chmod(0o640)
        run("chown", "root:www-data", str(path))


def password_line(region: str, secret_id: str) -> str:
    """A login as nginx reads it."""
    secret = subprocess.run(
        [
            "aws", "secretsmanager", "get-secret-value", "--region", region,
            "--secret-id", secret_id, "--query", "SecretString", "--output", "text",
        ],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    login = json.loads(secret)
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"],
        check=True, capture_output=True, text=True, input=login["password"],
    ).stdout.strip()  # fmt: skip
    return f"{login['username']}:{hashed}\n"


def make_certificate(address: str) -> None:
    """A certificate of our own: no authority can reach a machine that lets in one network alone."""
    certificate = files.TLS / "certificate.pem"
    if certificate.exists():  # users have compared its fingerprint
        return
    files.TLS.mkdir(mode=0o700, exist_ok=True)
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-subj", "/CN=comfy-on-aws", "-addext", f"subjectAltName=IP:{address}",
        "-days", str(CERTIFICATE_DAYS),
        "-keyout", str(files.TLS / "key.pem"),
        "-out", str(certificate),
    )  # fmt: skip


def fingerprint() -> str:
    shown = subprocess.run(
        ["openssl", "x509", "-in", str(files.TLS / "certificate.pem"), "-noout", "-fingerprint",
         "-sha256"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return shown.partition("=")[2].strip()


def own_address() -> str:
    """The machine's address in its network; it stays for the machine's life."""
    shown = subprocess.run(
        ["ip", "-json", "route", "get", "1.1.1.1"], check=True, capture_output=True, text=True
    ).stdout
    return str(json.loads(shown)[0]["prefsrc"])


# -- shared --------------------------------------------------------------------------------------


def signal(url: str, text: str) -> None:
    """Tell the stack that the designer is there."""
    body = {"Status": "SUCCESS", "Reason": "installed", "UniqueId": "designer", "Data": text}
    request = urllib.request.Request(  # noqa: S310 – CloudFormation's own URL
        url, json.dumps(body).encode(), {"Content-Type": ""}, method="PUT"
    )
    urllib.request.urlopen(request, timeout=60).close()  # noqa: S310


def apt(*arguments: str) -> None:
    """A new machine looks for updates by itself, and holds apt's locks meanwhile."""
    lock = f"DPkg::Lock::Timeout={LOCK_SECONDS}"  # apt waits for dpkg's lock alone
    command = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--option", lock, *arguments)
    for _ in range(APT_TRIES - 1):
        try:
            return run(*command)
        except subprocess.CalledProcessError:
            time.sleep(APT_PAUSE)
    return run(*command)


def pip(*arguments: str) -> None:
    """Install packages into the services' environment."""
    install = ("-m", "pip", "--disable-pip-version-check", "install", "--no-cache-dir")
    as_user(str(files.VENV / "bin/python"), *install, *arguments)


def as_user(*command: str) -> None:
    """Run what the services' user may have a hand in as that user."""
    run("runuser", "--user", files.USER, "--", "env", f"HOME={files.BASE}", *command)


def run(*command: str) -> None:
    install_worker.run(command)


if __name__ == "__main__":
    sys.exit(main())
