"""CodeBuild's projects that come by CloudFormation, and the images that their builds end with.

moto leaves such a project as a placeholder without a name, and its builds succeed without an image.
Here a build of deploy/buildspec.yml pushes the image that it is asked for: an empty one, which only
ECR looks at. Workers of the local stack are processes on this machine, whatever the image.
"""

from __future__ import annotations

import json
from typing import Any, Final

from moto.codebuild.models import codebuild_backends
from moto.codebuild.responses import CodeBuildResponse
from moto.core.common_models import CloudFormationModel
from moto.core.responses import ActionResult
from moto.ecr.models import ecr_backends

_KIND: Final = "application/vnd.docker.distribution.manifest.v2+json"


class BuildProject(CloudFormationModel):  # type: ignore[misc]
    """moto finds it among the subclasses of its base, by its type."""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::CodeBuild::Project"

    @classmethod
    def has_cfn_attr(cls, _attr: str) -> bool:
        return False

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **_kwargs: Any,
    ) -> BuildProject:
        wish = cloudformation_json["Properties"]
        codebuild_backends[account_id][region_name].create_project(
            project_name=resource_name,
            description=wish.get("Description"),
            project_source={"type": wish["Source"]["Type"], "location": wish["Source"]["Location"]},
            artifacts={"type": wish["Artifacts"]["Type"]},
            environment={"environmentVariables": _lower(wish["Environment"])},
            service_role=wish["ServiceRole"],
            tags=None,
            cache=None,
            timeout=wish.get("TimeoutInMinutes"),
            queued_timeout=wish.get("QueuedTimeoutInMinutes"),
            source_version=None,
            logs_config=None,
            vpc_config=None,
        )
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: BuildProject, *_args: Any, **_kwargs: Any
    ) -> BuildProject:
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(
        cls,
        resource_name: str,
        _cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> None:
        codebuild_backends[account_id][region_name].delete_project(resource_name)


def _lower(environment: dict[str, Any]) -> list[dict[str, str]]:
    """A project's variables, as CodeBuild's API has them."""
    found = environment.get("EnvironmentVariables", [])
    return [{"name": each["Name"], "value": str(each["Value"])} for each in found]


_start_build_alone = CodeBuildResponse.start_build


def _start_build(self: CodeBuildResponse) -> ActionResult:
    answer: ActionResult = _start_build_alone(self)
    project = self.codebuild_backend.codebuild_projects[self._get_param("projectName")]
    given = project.project_metadata["environment"].get("environmentVariables", [])
    given = [*given, *(self._get_param("environmentVariablesOverride") or [])]
    variables = {each["name"]: each["value"] for each in given}
    if {"REPOSITORY", "TAG"} <= variables.keys():
        config = {"digest": "sha256:" + "0" * 64}
        manifest = {"schemaVersion": 2, "mediaType": _KIND, "config": config, "layers": []}
        ecr_backends[self.current_account][self.region].put_image(
            repository_name=variables["REPOSITORY"].partition("/")[2],
            image_manifest=json.dumps(manifest),
            image_tag=variables["TAG"],
        )
    return answer


def install() -> None:
    """Let builds push; the class above needs only to exist."""
    setattr(CodeBuildResponse, "start_build", _start_build)  # noqa: B010
