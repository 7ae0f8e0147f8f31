"""The /aws routes on ComfyUI's server: JSON in, JSON out, described by docs/openapi.yaml."""

from comfy_aws.comfyui import extension
from comfy_aws.comfyui.routes import GROUPS


def install() -> None:
    """Add the routes to the running PromptServer; a role gets no more than is meant for it."""
    designer = extension.designer()
    for group in GROUPS:
        for route in group(designer).routes():
            handler = route.handler_for(designer.role)
            designer.server.routes.route(route.method, route.path)(handler)
