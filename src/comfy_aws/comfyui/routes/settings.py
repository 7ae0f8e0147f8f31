"""The settings, and whether the connection that they describe works."""

from __future__ import annotations

import asyncio

from aiohttp import web

from comfy_aws import config as configuration
from comfy_aws import versions
from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors, body_of
from comfy_aws.doctor import failure
from comfy_aws.errors import ComfyAwsError, ConfigError
from comfy_aws.models import Json, to_dict

SHOWN = ("target", "region", "profile", "bucket", "execution_role", "image", "endpoint",
         "cost_limit_job", "cost_limit_month", "cost_limit_user", "idle_guard")  # fmt: skip
"""What the page may see and change. Credentials are no settings: boto3 finds them itself."""


class SettingsRoutes(RouteGroup):
    def routes(self) -> list[Route]:
        return [
            Route("GET", "/aws/settings", self.get_settings),
            Route("PUT", "/aws/settings", self.put_settings),
            Route("POST", "/aws/test", self.post_test),
        ]

    @answers_errors
    async def get_settings(self, _request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._settings))

    def _settings(self) -> Json:
        home = self._designer.home
        loaded = configuration.load(home)
        forced = configuration.forced()
        return {
            "settings": {name: getattr(loaded, name) for name in SHOWN},
            "forced": {name: forced[name] for name in SHOWN if name in forced},
            "file": str(home / "settings.json"),
        }

    @answers_errors
    async def put_settings(self, request: web.Request) -> web.Response:
        changes = await body_of(request)
        await asyncio.to_thread(self._save, changes)
        return web.json_response(await asyncio.to_thread(self._settings))

    def _save(self, changes: Json) -> None:
        for name, value in changes.items():
            if name not in SHOWN:
                raise ConfigError(f"{name!r} is not a setting.", hint=f"Known: {list(SHOWN)}.")
            if not isinstance(value, str) or not value.isprintable():
                raise ConfigError(f"The setting {name} is one line of text; got {value!r}.")
        forced = configuration.forced()
        for name in changes:
            if name in forced and changes[name] != getattr(self._designer.config(), name):
                raise ConfigError(
                    f"The setting {name} is decided by the environment variable {forced[name]}.",
                    hint="Change it there and restart ComfyUI.",
                )
        kept = {name: value.strip() for name, value in changes.items() if name not in forced}
        self._designer.check_quiet(kept)
        configuration.save(self._designer.home, **kept)
        self._designer.forget_services()
        self._designer.definitions.forget()

    @answers_errors
    async def post_test(self, _request: web.Request) -> web.Response:
        try:
            software = await asyncio.to_thread(versions.installed, self._designer.folder)
            checks = await self._call(lambda s: s.doctor.checks(software))
        except ComfyAwsError as exc:
            checks = [failure("settings", exc)]
        return web.json_response({"checks": [to_dict(check) for check in checks]})
