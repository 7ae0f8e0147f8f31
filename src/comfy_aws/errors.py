"""Every exception this library raises.

    ComfyAwsError
    ├── ConfigError               a setting is missing or out of range
    ├── InvalidName               a template or endpoint name breaks a rule
    ├── InvalidWorkflow           not JSON, not a graph, too large
    ├── InvalidDocument           a stored JSON document does not fit its type
    ├── InvalidFile               a picture or a template file is damaged, too large, or none
    ├── InvalidParameters         values for a template's parameters do not fit
    ├── InvalidWebhook            a webhook's URL or secret cannot be used
    ├── Forbidden                 the role of this ComfyUI does not allow it
    ├── InvalidTransition         a state machine was asked for an illegal step
    ├── NotFound                  no such template, version, endpoint or job
    ├── Conflict                  the name is taken, or somebody else was faster
    ├── CaptureError              something the prompt needs cannot be captured
    │   ├── Unresolved            inputs name files or classes that nobody has
    │   └── FileChanged           a file vanished or changed while it was read
    ├── BlobCorrupted             bytes in the bucket do not match their digest
    ├── EndpointUnusable          the endpoint cannot take a job now
    ├── CostLimit                 the job would cost more than is allowed
    ├── Cancelled                 the caller asked to stop
    ├── DownloadFailed            a file of the web is refused, missing or not what it should be
    │   └── DownloadBroken        … for now: it can be taken up again
    ├── DeployFailed              CloudFormation or the image's build ended in failure
    ├── LocalStackError           the loopback cloud failed to start or stop
    ├── WorkerError               the worker cannot do what the job asks
    │   ├── RunnerCrashed         the headless ComfyUI died (crash, out of memory)
    │   ├── WorkerStopped         the worker was taken away under a job
    │   └── PackBroken            a node pack failed to import or install
    ├── ComfyUIError              a ComfyUI server answered with an error
    │   └── PromptRejected        … with node_errors
    └── AwsError                  AWS answered with an error
        ├── AwsUnreachable        no connection, time-out
        ├── AwsDenied             credentials wrong, or permission missing
        ├── AwsNotFound           the resource does not exist
        └── AwsConflict           a condition on the write did not hold

A message states the rule that was broken and the offending value; `hint` says what to do.
Errors of boto3, of ComfyUI and of the web are turned into these in `aws`, `comfy.py` and
`web.py` alone.
"""

from __future__ import annotations

from typing import Any


class ComfyAwsError(Exception):
    """Base of every error of this library.

    Args:
        message: what is wrong, with the offending value.
        hint: what the reader can do about it; may be empty.
    """

    code = "error"
    http_status = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_dict(self) -> dict[str, Any]:
        """As JSON routes and the CLI print it: ``{"code", "message", "hint"}``."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class ConfigError(ComfyAwsError):
    """Raised when a setting is missing or out of range."""

    code = "config"
    http_status = 409


class InvalidName(ComfyAwsError):
    """Raised when a template or endpoint name breaks a rule."""

    code = "invalid_name"
    http_status = 400


class InvalidWorkflow(ComfyAwsError):
    """Raised when a workflow or prompt is not JSON, not a graph, or too large."""

    code = "invalid_workflow"
    http_status = 400


class InvalidDocument(ComfyAwsError):
    """Raised when a stored JSON document does not fit the type it should have."""

    code = "invalid_document"
    http_status = 502


class InvalidFile(ComfyAwsError):
    """Raised when a file that a user gives is damaged, too large, or not of its kind."""

    code = "invalid_file"
    http_status = 400


class InvalidParameters(ComfyAwsError):
    """Raised when values for a template's parameters do not fit.

    Args:
        parameters: what is wrong, by the name that the caller used.
    """

    code = "invalid_parameters"
    http_status = 400

    def __init__(self, message: str, *, parameters: dict[str, str], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.parameters = parameters

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "parameters": self.parameters}


class InvalidWebhook(ComfyAwsError):
    """Raised when a webhook's URL leads where nothing is sent, or its secret is none."""

    code = "invalid_webhook"
    http_status = 400


class Forbidden(ComfyAwsError):
    """Raised when the role of this ComfyUI does not allow what was asked."""

    code = "forbidden"
    http_status = 403


class InvalidTransition(ComfyAwsError):
    """Raised when a state machine is asked for a step it does not have."""

    code = "invalid_transition"
    http_status = 409


class NotFound(ComfyAwsError):
    """Raised when a template, version, endpoint or job does not exist."""

    code = "not_found"
    http_status = 404


class Conflict(ComfyAwsError):
    """Raised when a name is taken, or somebody else changed the same thing first."""

    code = "conflict"
    http_status = 409


class CaptureError(ComfyAwsError):
    """Raised when something that the prompt needs cannot be captured."""

    code = "capture"
    http_status = 422


class Unresolved(CaptureError):
    """Raised when inputs name files or node classes that neither this machine nor the bucket has.

    Args:
        node_errors: ComfyUI's own shape, by node id, so that the canvas can outline the nodes.
    """

    code = "unresolved"

    def __init__(self, message: str, *, node_errors: dict[str, Any], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.node_errors = node_errors

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "node_errors": self.node_errors}


class FileChanged(CaptureError):
    """Raised when a file vanishes or changes while it is hashed or uploaded."""

    code = "file_changed"


class BlobCorrupted(ComfyAwsError):
    """Raised when bytes from the bucket do not have the size or digest that names them."""

    code = "blob_corrupted"
    http_status = 502


class EndpointUnusable(ComfyAwsError):
    """Raised when the endpoint is missing, failed, or not yet in service."""

    code = "endpoint_unusable"
    http_status = 409


class CostLimit(ComfyAwsError):
    """Raised before a job is sent that would go beyond a limit of the settings."""

    code = "cost_limit"
    http_status = 402


class Cancelled(ComfyAwsError):
    """Raised inside an operation that its caller cancelled."""

    code = "cancelled"
    http_status = 409


class DownloadFailed(ComfyAwsError):
    """Raised when a file of the web is refused, missing, or not what it should be."""

    code = "download"
    http_status = 422


class DownloadBroken(DownloadFailed):
    """Raised when a download breaks off, or its server is busy; it can be taken up again."""

    code = "download_broken"
    http_status = 502


class DeployFailed(ComfyAwsError):
    """Raised when CloudFormation refuses or fails a change, or the worker image does not build."""

    code = "deploy_failed"


class LocalStackError(ComfyAwsError):
    """Raised when the loopback cloud cannot be started, stopped or reached."""

    code = "local_stack"


class WorkerError(ComfyAwsError):
    """Raised when the worker cannot do what a job asks."""

    code = "worker"


class RunnerCrashed(WorkerError):
    """Raised when the headless ComfyUI dies under a job."""

    code = "runner_crashed"


class WorkerStopped(WorkerError):
    """Raised when a worker is taken away under a job."""

    code = "worker_stopped"


class PackBroken(WorkerError):
    """Raised when a node pack of the manifest does not import or install."""

    code = "pack_broken"


class ComfyUIError(ComfyAwsError):
    """Raised when a ComfyUI server cannot be reached or answers with an error."""

    code = "comfyui"
    http_status = 502


class PromptRejected(ComfyUIError):
    """Raised when ComfyUI's validation refuses a prompt.

    Args:
        error: ComfyUI's ``error`` object (type, message, details, extra_info).
        node_errors: ComfyUI's ``node_errors`` object, by node id.
    """

    code = "prompt_rejected"
    http_status = 400

    def __init__(self, error: dict[str, Any], node_errors: dict[str, Any]) -> None:
        super().__init__(str(error.get("message", "The prompt was rejected.")))
        self.error = error
        self.node_errors = node_errors


class AwsError(ComfyAwsError):
    """Raised when AWS answers with an error.

    Args:
        operation: the API call, such as ``s3:PutObject``.
        aws_code: AWS's own error code.
    """

    code = "aws"
    http_status = 502

    def __init__(
        self, message: str, *, operation: str = "", aws_code: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.operation = operation
        self.aws_code = aws_code


class AwsUnreachable(AwsError):
    """Raised when AWS cannot be reached, or does not answer in time."""

    code = "aws_unreachable"
    http_status = 503


class AwsDenied(AwsError):
    """Raised when the credentials are missing or wrong, or a permission is missing."""

    code = "aws_denied"
    http_status = 403


class AwsNotFound(AwsError):
    """Raised when the AWS resource does not exist."""

    code = "aws_not_found"
    http_status = 404


class AwsConflict(AwsError):
    """Raised when a conditional write finds that its condition does not hold."""

    code = "aws_conflict"
    http_status = 409
