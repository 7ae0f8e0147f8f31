"""The /aws routes by group; a handler reads the request, calls a service, writes the answer.

Every error of the library becomes ``{"error": {"code", "message", "hint"}}`` with its status.
"""

from __future__ import annotations

from comfy_aws.comfyui.routes.endpoints import EndpointRoutes
from comfy_aws.comfyui.routes.forms import FormRoutes
from comfy_aws.comfyui.routes.jobs import JobRoutes
from comfy_aws.comfyui.routes.logs import LogRoutes
from comfy_aws.comfyui.routes.models import ModelRoutes
from comfy_aws.comfyui.routes.programs import ProgramRoutes
from comfy_aws.comfyui.routes.publishes import PublishRoutes
from comfy_aws.comfyui.routes.settings import SettingsRoutes
from comfy_aws.comfyui.routes.status import StatusRoutes
from comfy_aws.comfyui.routes.template_files import TemplateFileRoutes
from comfy_aws.comfyui.routes.templates import TemplateRoutes

GROUPS = (
    StatusRoutes,
    SettingsRoutes,
    TemplateRoutes,
    TemplateFileRoutes,
    FormRoutes,
    PublishRoutes,
    EndpointRoutes,
    JobRoutes,
    ProgramRoutes,
    ModelRoutes,
    LogRoutes,
)
"""In the order of docs/openapi.yaml."""
