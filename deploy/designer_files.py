"""What a designer machine is told, as text: its services' environment, nginx and systemd.

Standard library only, as deploy/install_designer.py, which writes it all.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path("/opt/comfy-aws")
COMFYUI = Path("/opt/comfyui")
VENV = Path("/opt/comfyui-venv")
BASE = Path("/srv/comfy")
"""The models volume: ComfyUI's base directory."""
SETTINGS = Path("/etc/comfy-aws.json")
ENVIRONMENT = Path("/etc/comfy-aws.env")
NGINX = Path("/etc/nginx")
TLS = NGINX / "comfy-tls"
PASSWORDS = NGINX / "comfy-passwords"
PORT_PASSWORDS = NGINX / "comfy-port-passwords"
"""Of the inference ports: the artists' login, and the designer's."""
PAGES = Path("/var/www/html")
UNITS = Path("/etc/systemd/system")
FSTAB = Path("/etc/fstab")
USER = "comfy"
EXTENSION = "prompt-on-aws"
DESIGNER_PORT = 8188
FIRST_PORT = 10001


def environment(region: str, bucket: str, role: str, image: str) -> str:
    """What the services are told."""
    values = {
        "AWS_REGION": region,
        "COMFY_AWS_TARGET": "aws",
        "COMFY_AWS_BUCKET": bucket,
        "COMFY_AWS_EXECUTION_ROLE": role,
        "COMFY_AWS_IMAGE": image,
        "COMFY_AWS_HOME": str(BASE / ".comfy-aws"),
        "PYTHONPATH": str(BASE / "custom_nodes" / EXTENSION / "src"),
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


# -- nginx ---------------------------------------------------------------------------------------

STARTING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<title>ComfyUI is starting</title>
<body style="font: 16px sans-serif; margin: 20vh auto; max-width: 32em">
<h1>ComfyUI is starting</h1>
<p>This page opens it as soon as it answers, which takes a minute or two, and longer after
an update.</p>
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
    if ($comfy_foreign_page) {{
        return 403;
    }}
    if ($comfy_foreign_fetch) {{
        return 403;
    }}
    auth_basic "ComfyUI";
    auth_basic_user_file {passwords};
    client_max_body_size 0;
    error_page 502 503 504 /starting.html;
    location = /starting.html {{
        root {pages};
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


_MAPS = r"""map $http_upgrade $comfy_connection {
    default upgrade;
    "" "";
}
# Browsers keep the login and send it along with what pages of other sites ask for, and ComfyUI asks
# for nothing else. So nobody else's page may post, open a websocket, or fetch more than the page.
map "$http_origin $http_host" $comfy_foreign_page {
    default 1;
    "~^ " 0;
    "~*^https://(\S+) \1$" 0;
}
map "$http_sec_fetch_site $uri" $comfy_foreign_fetch {
    default 0;
    "~^(cross|same)-site (?!/$|/view$|/api/view$)" 1;
}
"""


def nginx(ports: int, address: str) -> str:
    """The proxy's configuration: the designer at 443, each inference port at its own number."""
    servers = [
        (443, DESIGNER_PORT, PASSWORDS),
        *((port, port, PORT_PASSWORDS) for port in port_numbers(ports)),
    ]
    return _MAPS + "".join(
        _SERVER.format(
            address=address,
            outside=outside,
            inside=inside,
            tls=TLS,
            passwords=passwords,
            pages=PAGES,
        )
        for outside, inside, passwords in servers
    )


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
Description=What the last deploy wants of this machine
After=network-online.target
Wants=network-online.target
RequiresMountsFor={BASE}
Before=comfy.service

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 {HERE}/source/deploy/install_designer.py --update

[Install]
WantedBy=multi-user.target
"""


NGINX_UNIT = """[Unit]
# It listens at an address that the network has to have first.
After=network-online.target
Wants=network-online.target

[Service]
Restart=on-failure
RestartSec=5
"""
"""What is added to the distribution's own unit."""


def units(ports: int) -> dict[str, str]:
    """systemd units by their file names."""
    python = VENV / "bin/python"
    comfy = (
        f"{python} {COMFYUI}/main.py --listen 127.0.0.1 --port {DESIGNER_PORT} "
        # Its own place is in ComfyUI's folder, which the services cannot write to.
        f"--base-directory {BASE} --database-url sqlite:///{BASE}/user/comfyui.db"
    )
    made = {"comfy.service": _unit("ComfyUI, the designer", comfy), "comfy-update.service": _UPDATE}
    if ports:
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
