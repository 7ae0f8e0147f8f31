"""The only reader of the environment and of the settings file.

Precedence: environment variable, then `<home>/settings.json`, then the default. `home` is
COMFY_AWS_HOME, else `~/.comfy-aws`.

| variable | setting | meaning |
|---|---|---|
| COMFY_AWS_TARGET | target | `aws`, `local` (the local stack), empty: not configured |
| COMFY_AWS_BUCKET | bucket | bucket of templates, blobs and jobs |
| COMFY_AWS_EXECUTION_ROLE | execution_role | ARN that SageMaker runs the worker as |
| COMFY_AWS_IMAGE | image | worker image in ECR |
| COMFY_AWS_ENDPOINT | endpoint | endpoint for prompts whose template names none |
| COMFY_AWS_COST_LIMIT_JOB | cost_limit_job | USD that one job may cost; empty: no limit |
| COMFY_AWS_COST_LIMIT_MONTH | cost_limit_month | USD that a month's jobs may cost |
| COMFY_AWS_COST_LIMIT_USER | cost_limit_user | USD that one user's jobs may cost in a month |
| COMFY_AWS_IDLE_GUARD | idle_guard | minutes without a job until an endpoint is put to sleep |
| COMFY_AWS_ROUTE | – | `always` or `always:TEMPLATE`: forward every prompt |
| COMFY_AWS_ROLE | – | `designer`, or `inference`: a port for artists, where every run goes to AWS |
| COMFY_AWS_COMFYUI | comfyui | ComfyUI folder for workers of the local stack |
| COMFY_AWS_RUNNER_ARGS | runner_args | more arguments for the worker's ComfyUI |
| COMFY_AWS_FETCH_PRIVATE | fetch_private | `1`: models may be fetched from private addresses |
| COMFY_AWS_WEBHOOK_PRIVATE | webhook_private | `1`: webhooks may be private or plain http |
| AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL… | region, profile | as boto3 reads them |
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from comfy_aws.errors import ConfigError
from comfy_aws.layout import check_endpoint_name, check_template_name

GiB = 1024**3
TARGETS = ("", "aws", "local")
DESIGNER, INFERENCE = ROLES = ("designer", "inference")
VARIABLES = {
    "target": ("COMFY_AWS_TARGET",),
    "bucket": ("COMFY_AWS_BUCKET",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "profile": ("AWS_PROFILE",),
    "execution_role": ("COMFY_AWS_EXECUTION_ROLE",),
    "image": ("COMFY_AWS_IMAGE",),
    "endpoint": ("COMFY_AWS_ENDPOINT",),
    "comfyui": ("COMFY_AWS_COMFYUI", "COMFYUI_PATH"),
    "runner_args": ("COMFY_AWS_RUNNER_ARGS",),
    "fetch_private": ("COMFY_AWS_FETCH_PRIVATE",),
    "webhook_private": ("COMFY_AWS_WEBHOOK_PRIVATE",),
    "cost_limit_job": ("COMFY_AWS_COST_LIMIT_JOB",),
    "cost_limit_month": ("COMFY_AWS_COST_LIMIT_MONTH",),
    "cost_limit_user": ("COMFY_AWS_COST_LIMIT_USER",),
    "idle_guard": ("COMFY_AWS_IDLE_GUARD",),
}
"""The variables of each setting, the one that wins first."""
SAVED = frozenset(VARIABLES)
"""What settings.json may hold."""


@dataclass(frozen=True)
class AwsAccess:
    """How to reach AWS; empty fields leave the choice to boto3's own chain."""

    bucket: str
    region: str = ""
    profile: str = ""
    endpoint_url: str = ""
    s3_endpoint_url: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""


@dataclass(frozen=True)
class Config:
    """The designer's configuration."""

    home: Path
    target: str = ""
    bucket: str = ""
    region: str = ""
    profile: str = ""
    execution_role: str = ""
    image: str = ""
    endpoint: str = ""
    route: str = ""
    role: str = DESIGNER
    comfyui: str = ""
    runner_args: str = ""
    fetch_private: str = ""
    webhook_private: str = ""
    cost_limit_job: str = ""
    cost_limit_month: str = ""
    cost_limit_user: str = ""
    idle_guard: str = ""

    @property
    def fetches_private(self) -> bool:
        """Models may be fetched from loopback and private networks, not from the web alone."""
        return self.fetch_private == "1"

    @property
    def sends_private(self) -> bool:
        """Webhooks may go to loopback and private networks, and by plain http."""
        return self.webhook_private == "1"

    @property
    def limits(self) -> tuple[float | None, float | None, float | None]:
        """USD that one job, all jobs of a month, and those of one user may cost; None: no limit."""
        texts = (self.cost_limit_job, self.cost_limit_month, self.cost_limit_user)
        job, month, user = (float(text) if text else None for text in texts)
        return job, month, user

    @property
    def guard_seconds(self) -> float | None:
        """Seconds without a job after which an endpoint is put to sleep; None for never."""
        return 60 * float(self.idle_guard) if self.idle_guard else None

    @property
    def place(self) -> dict[str, str]:
        """The settings that tell where jobs are: with others in force none is found."""
        names = ("target",) if self.target == "local" else ("target", "bucket", "region", "profile")
        return {name: getattr(self, name) for name in names}

    @property
    def stack_home(self) -> Path:
        """Folder of the local stack."""
        return self.home / "stack"

    @property
    def routes_all(self) -> bool:
        """Every prompt goes to AWS, marked or not."""
        return self.role == INFERENCE or self.route.split(":", 1)[0] == "always"

    @property
    def route_template(self) -> str:
        """Template of the prompts that `route` forwards; empty for none."""
        return self.route.partition(":")[2]


@dataclass(frozen=True)
class WorkerConfig:
    """The worker's configuration, from its container's environment alone.

    `cache_bytes` bounds the blob cache; 0 means nine tenths of the free disk at start.
    `warm` is the name of the template to make ready before /ping turns 200.
    """

    access: AwsAccess
    port: int
    directory: Path
    comfyui: Path
    runner_args: tuple[str, ...]
    cache_bytes: int
    warm: str


def default_home(environ: Mapping[str, str] | None = None) -> Path:
    env = os.environ if environ is None else environ
    # Absolute, because the local stack runs in another working folder.
    return Path(env.get("COMFY_AWS_HOME") or Path.home() / ".comfy-aws").expanduser().absolute()


def load(home: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration.

    Raises:
        ConfigError: the settings file is damaged, or a value is not allowed.
    """
    env = os.environ if environ is None else environ
    home = home or default_home(env)
    saved = _read_settings(home)

    values = {
        name: next((env[key] for key in keys if env.get(key)), saved.get(name, ""))
        for name, keys in VARIABLES.items()
    }
    config = Config(home=home, route=env.get("COMFY_AWS_ROUTE", ""), role=role(env), **values)
    if not config.target and config.bucket:
        config = replace(config, target="aws")
    return _checked(config)


def role(environ: Mapping[str, str] | None = None) -> str:
    """What this ComfyUI is for: it cannot change while it runs. Raises ConfigError."""
    env = os.environ if environ is None else environ
    chosen = env.get("COMFY_AWS_ROLE") or DESIGNER
    if chosen not in ROLES:
        raise ConfigError(f"COMFY_AWS_ROLE is 'designer' or 'inference'; {chosen!r} is neither.")
    return chosen


def forced(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The settings that the environment decides, each with its variable."""
    env = os.environ if environ is None else environ
    return {
        name: next(key for key in keys if env.get(key))
        for name, keys in VARIABLES.items()
        if any(env.get(key) for key in keys)
    }


def save(home: Path, **changes: str) -> None:
    """Change settings in `<home>/settings.json`, whole or not at all.

    Raises:
        ConfigError: a name is not a setting, or the file is damaged or cannot be written.
    """
    unknown = sorted(set(changes) - SAVED)
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is not a setting.", hint=f"Known: {sorted(SAVED)}.")
    settings = {**_read_settings(home), **changes}
    _checked(Config(home=home, **{key: settings[key] for key in SAVED if key in settings}))
    write_atomically(home / "settings.json", json.dumps(settings, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write a small private file so that readers see the old or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def user_name() -> str:
    """Who runs this process; empty where nobody is known, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def child_environment(**changes: str) -> dict[str, str]:
    """This process's environment for a child, with `changes`."""
    return {**os.environ, **changes}


def load_worker(environ: Mapping[str, str] | None = None) -> WorkerConfig:
    """Read the worker's configuration from its environment.

    SageMaker sets no port (8080 is fixed) except SAGEMAKER_BIND_TO_PORT, which the local stack
    uses to run many workers on one machine.

    Raises:
        ConfigError: a required variable is missing or not a number.
    """
    env = os.environ if environ is None else environ

    def required(name: str) -> str:
        if not env.get(name):
            raise ConfigError(
                f"The worker needs the environment variable {name}.",
                hint="Create the endpoint again with this version of the extension.",
            )
        return env[name]

    def number(name: str, default: int) -> int:
        text = env.get(name, "") or str(default)
        if not text.isdecimal():
            raise ConfigError(f"{name} is a whole number; {text!r} is not one.")
        return int(text)

    return WorkerConfig(
        access=AwsAccess(
            bucket=required("COMFY_AWS_BUCKET"),
            region=env.get("AWS_REGION", "") or env.get("AWS_DEFAULT_REGION", ""),
        ),
        port=number("SAGEMAKER_BIND_TO_PORT", 8080),
        directory=Path(env.get("COMFY_AWS_WORKER_DIR") or "/tmp/comfy-aws"),  # noqa: S108 – SageMaker's large volume is under /tmp
        comfyui=Path(env.get("COMFYUI_PATH") or "/opt/comfyui"),
        runner_args=tuple(shlex.split(env.get("COMFY_AWS_RUNNER_ARGS", ""))),
        cache_bytes=number("COMFY_AWS_CACHE_BYTES", 0),
        warm=env.get("COMFY_AWS_WARM_TEMPLATE", ""),
    )


def _read_settings(home: Path) -> dict[str, str]:
    path = home / "settings.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"The settings file {path} cannot be read: {exc}.", hint="Mend it or delete it."
        ) from exc
    if not isinstance(settings, dict):
        raise ConfigError(f"The settings file {path} holds no JSON object.", hint="Delete it.")
    for key, value in settings.items():
        if not isinstance(value, str):
            raise ConfigError(
                f"The setting {key} in {path} is text; {value!r} is not.",
                hint="Mend it or delete the file.",
            )
    return settings


def _checked(config: Config) -> Config:
    if config.target not in TARGETS:
        raise ConfigError(f"The target is 'aws' or 'local'; {config.target!r} is neither.")
    if config.route and config.route.split(":", 1)[0] != "always":
        raise ConfigError(
            f"COMFY_AWS_ROUTE is 'always' or 'always:TEMPLATE'; {config.route!r} is neither."
        )
    if config.route_template:
        check_template_name(config.route_template)
    if config.endpoint:
        check_endpoint_name(config.endpoint)
    for name in ("cost_limit_job", "cost_limit_month", "cost_limit_user"):
        text = getattr(config, name)
        if text and not (re.fullmatch(r"\d+(\.\d+)?", text) and float(text) > 0):
            raise ConfigError(
                f"{name} is an amount in USD above 0, such as 0.50; {text!r} is none.",
                hint="Leave it empty for no limit.",
            )
    if config.idle_guard and not re.fullmatch(r"[1-9]\d{0,4}", config.idle_guard):
        raise ConfigError(
            f"idle_guard is a whole number of minutes above 0; {config.idle_guard!r} is none.",
            hint="Leave it empty to be told only.",
        )
    for name in ("fetch_private", "webhook_private"):
        if getattr(config, name) not in ("", "0", "1"):
            raise ConfigError(
                f"{VARIABLES[name][0]} is '1' or '0'; {getattr(config, name)!r} is neither."
            )
    return config
