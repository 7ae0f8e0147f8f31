"""Images: the worker's, which CodeBuild builds and ECR keeps, and AWS's own for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from comfy_aws.aws.mapping import mapped
from comfy_aws.aws.session import Session
from comfy_aws.errors import AwsError, AwsNotFound

LOOKED_AT: Final = 10
"""Builds, the newest ones, of which one may be under way."""


@dataclass(frozen=True)
class Build:
    """A build as CodeBuild describes it."""

    build_id: str
    status: str
    phase: str = ""
    log: str = ""
    """Where to read its log."""

    @property
    def running(self) -> bool:
        return self.status == "IN_PROGRESS"


class Images:
    """Images of one account and region, and the builds that make them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def build(self, project: str, variables: Mapping[str, str]) -> Build:
        """Start a build with these environment variables."""
        with mapped("codebuild:StartBuild", project):
            answer = self._session.client("codebuild").start_build(
                projectName=project,
                environmentVariablesOverride=[
                    {"name": name, "value": value, "type": "PLAINTEXT"}
                    for name, value in variables.items()
                ],
            )
        return _build(answer["build"])

    def running(self, project: str, variables: Mapping[str, str]) -> Build | None:
        """A build of the project that is under way with these environment variables, if any."""
        client = self._session.client("codebuild")
        with mapped("codebuild:ListBuildsForProject", project):
            answer = client.list_builds_for_project(projectName=project, sortOrder="DESCENDING")
        newest = answer["ids"][:LOOKED_AT]
        if not newest:
            return None
        with mapped("codebuild:BatchGetBuilds", project):
            builds = client.batch_get_builds(ids=newest)["builds"]
        for raw in builds:
            given = (raw.get("environment") or {}).get("environmentVariables", [])
            has = {each["name"]: each["value"] for each in given}
            if _build(raw).running and variables.items() <= has.items():
                return _build(raw)
        return None

    def look(self, build_id: str) -> Build:
        """Raises AwsNotFound when there is no such build."""
        with mapped("codebuild:BatchGetBuilds", build_id):
            found = self._session.client("codebuild").batch_get_builds(ids=[build_id])["builds"]
        if not found:
            raise AwsNotFound(
                f"There is no build {build_id}.", operation="codebuild:BatchGetBuilds"
            )
        return _build(found[0])

    def exists(self, repository: str, tag: str, *, registry: str = "") -> bool:
        """Whether the repository, named without its registry, has an image with this tag.

        Args:
            registry: number of the account that has the repository; by default one's own.
        """
        where = {"registryId": registry} if registry else {}
        try:
            with mapped("ecr:DescribeImages", f"{repository}:{tag}"):
                self._session.client("ecr").describe_images(
                    repositoryName=repository, imageIds=[{"imageTag": tag}], **where
                )
        except AwsError as exc:
            if exc.aws_code in {"ImageNotFoundException", "RepositoryNotFoundException"}:
                return False
            raise
        return True

    def machine(self, parameter: str) -> str:
        """The machine image that a public parameter names."""
        with mapped("ssm:GetParameter", parameter):
            answer = self._session.client("ssm").get_parameter(Name=parameter)
        return str(answer["Parameter"]["Value"])


def _build(raw: Mapping[str, Any]) -> Build:
    logs = raw.get("logs") or {}
    return Build(
        raw["id"], raw["buildStatus"], raw.get("currentPhase", ""), logs.get("deepLink", "")
    )
