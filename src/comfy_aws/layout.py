"""Where things lie in the bucket, and how they may be named. Pure.

blobs/sha256/{aa}/{digest}
environments/{key}.json               Python packages of node packs, by what they were built of
archives/{aa}/{digest}                and those packages
faults/{key}.json                     why node packs do not work on workers
models/{folder}/{name}.json
templates/{name}/template.json
templates/{name}/versions/{n}.json
templates/collecting.json             until when somebody deletes blobs that nothing names
jobs/{id}/request.json result.json events.jsonl cancel outputs/…
async/{endpoint}/out failed           SageMaker's own answers
deploy/source.zip                     what the worker image and the designer are made of
deploy/designer.json                  what the last deploy wants of the designer machine
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from comfy_aws.errors import InvalidName

TEMPLATE_NAME: Final = re.compile(r"[A-Za-z0-9]{1,20}")
TEMPLATE_NAME_RULE: Final = "A template name is 1 to 20 letters and digits (A-Z, a-z, 0-9)"
ENDPOINT_NAME: Final = re.compile(r"(?=.{1,63}\Z)[a-zA-Z0-9](-*[a-zA-Z0-9])*")
"""SageMaker's own pattern and length for endpoint names."""

JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A job's id is ComfyUI's prompt_id and SageMaker's InferenceId (at most 64 characters)."""

TEMPLATES: Final = "templates/"
JOBS: Final = "jobs/"
COLLECTING: Final = "templates/collecting.json"
MODELS: Final = "models/"
ENVIRONMENTS: Final = "environments/"
"""Built environments; each object names an archive."""
ARCHIVES: Final = "archives/"
"""Apart from the blobs: workers write them, and can change nothing that was published."""
FAULTS: Final = "faults/"
BLOBS: Final = "blobs/sha256/"
ASYNC: Final = "async/"
SOURCE: Final = "deploy/source.zip"
DESIGNER: Final = "deploy/designer.json"


def check_template_name(name: object) -> str:
    """Return `name`, or raise InvalidName saying which rule it breaks."""
    if not isinstance(name, str) or not TEMPLATE_NAME.fullmatch(name):
        shown = (
            repr(name) if not isinstance(name, str) or len(name) <= 40 else repr(name[:37] + "…")
        )
        raise InvalidName(f"{TEMPLATE_NAME_RULE}; {shown} is not one.", hint="Choose another name.")
    return name


def check_endpoint_name(name: object) -> str:
    """Return `name`, or raise InvalidName saying which rule it breaks."""
    if not isinstance(name, str) or not ENDPOINT_NAME.fullmatch(name):
        raise InvalidName(
            "An endpoint name is 1 to 63 letters, digits and hyphens, "
            f"beginning and ending with a letter or digit; {name!r} is not one.",
            hint="Choose another name.",
        )
    return name


def check_job_id(job_id: object) -> str:
    """Return `job_id`, or raise InvalidName: ids become keys and file names."""
    if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id) or ".." in job_id:
        raise InvalidName(
            "A prompt_id that runs on AWS is 1 to 64 letters, digits, dots, hyphens and "
            f"underscores; {job_id!r} is not one.",
            hint="Send another prompt_id, or none.",
        )
    return job_id


def endpoint_name_for(template: str) -> str:
    """The endpoint name of a template.

    SageMaker compares endpoint names without case while template names differ by it, so a short
    digest of the exact name is appended.
    """
    digest = hashlib.sha256(template.encode()).hexdigest()[:6]
    return f"comfy-{template}-{digest}"


def blob_key(digest: str) -> str:
    return f"{BLOBS}{digest[:2]}/{digest}"


def model_key(folder: str, name: str) -> str:
    return f"{MODELS}{folder}/{name}.json"


def environment_key(key: str) -> str:
    return f"{ENVIRONMENTS}{key}.json"


def archive_key(digest: str) -> str:
    return f"{ARCHIVES}{digest[:2]}/{digest}"


def fault_key(key: str) -> str:
    return f"{FAULTS}{key}.json"


def template_key(name: str) -> str:
    return f"{TEMPLATES}{name}/template.json"


def template_of(key: str) -> str:
    """The name of the template whose pointer has this key; empty for any other key."""
    name, slash, rest = key.removeprefix(TEMPLATES).partition("/")
    return name if slash and rest == "template.json" else ""


def version_prefix(name: str) -> str:
    return f"{TEMPLATES}{name}/versions/"


def version_key(name: str, version: int) -> str:
    return f"{version_prefix(name)}{version}.json"


def job_prefix(job_id: str) -> str:
    return f"{JOBS}{job_id}/"


def request_key(job_id: str) -> str:
    return f"{JOBS}{job_id}/request.json"


def result_key(job_id: str) -> str:
    return f"{JOBS}{job_id}/result.json"


def events_key(job_id: str) -> str:
    return f"{JOBS}{job_id}/events.jsonl"


def cancel_key(job_id: str) -> str:
    return f"{JOBS}{job_id}/cancel"


def output_key(job_id: str, number: int, filename: str) -> str:
    """Outputs are numbered so that equal names in different subfolders cannot meet."""
    return f"{JOBS}{job_id}/outputs/{number:04d}/{filename}"
