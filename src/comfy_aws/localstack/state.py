"""What the stack writes down, so that a kill -9 loses nothing that it has accepted.

`identity.json` holds the generated keys, `control.json` the control plane (models,
configurations, endpoints, scaling), `queue/` the accepted invocations. Files are replaced whole
(write, then rename): a reader sees the old or the new state, never a half. Nothing is synced to
the disk: the promise is about killed processes, not about power cuts.
"""

from __future__ import annotations

import json
import os
import secrets
import string
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from comfy_aws.stack import BUCKET

REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
"""moto's account; every ARN carries it."""


@dataclass(frozen=True)
class Identity:
    """The stack's keys, its owner's and its workers', its region and account."""

    access_key_id: str
    secret_access_key: str
    worker_access_key_id: str
    worker_secret_access_key: str
    region: str = REGION
    account: str = ACCOUNT
    bucket: str = BUCKET

    def secret_of(self, access_key_id: str) -> str | None:
        """The secret of a key; None when it is nobody's."""
        return {
            self.access_key_id: self.secret_access_key,
            self.worker_access_key_id: self.worker_secret_access_key,
        }.get(access_key_id)

    @property
    def role_arn(self) -> str:
        return f"arn:aws:iam::{self.account}:role/comfy-aws-local"

    @property
    def image_uri(self) -> str:
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com/comfy-aws-worker:local"


def load_identity(home: Path) -> Identity:
    """The identity of this home, made on first use."""
    path = home / "identity.json"
    known = read_json(path)
    identity = Identity(**{**_new_keys(), **(known or {})})
    if known != asdict(identity):
        write_json(path, asdict(identity))
    return identity


def _new_keys() -> dict[str, str]:
    capitals = string.ascii_uppercase + "234567"
    letters = string.ascii_letters + string.digits
    keys = {}
    for whose in ("", "worker_"):
        keys[f"{whose}access_key_id"] = "AKIA" + "".join(
            secrets.choice(capitals) for _ in range(16)
        )
        keys[f"{whose}secret_access_key"] = "".join(secrets.choice(letters) for _ in range(40))
    return keys


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by the JSON of `value`, readable by its owner only."""
    write_bytes(path, json.dumps(value, default=str).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` whole, readable by its owner only."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    scratch.replace(path)


def read_json(path: Path) -> Any:
    """The JSON in `path`; None when there is no such file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
