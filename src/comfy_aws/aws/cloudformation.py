"""CloudFormation: one stack at a time, changed by change sets alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from comfy_aws.aws.mapping import mapped
from comfy_aws.aws.session import Session
from comfy_aws.deploy_plan import Change, ChangeSet, StackEvent, StackView
from comfy_aws.errors import AwsNotFound

CAPABILITIES: Final = ["CAPABILITY_IAM"]


class Stacks:
    """The stacks of one account and region."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def _client(self) -> Any:
        return self._session.client("cloudformation")

    def find(self, name: str) -> StackView | None:
        """The stack of this name or id; None when there is none."""
        try:
            with mapped("cloudformation:DescribeStacks", name):
                [raw] = self._client.describe_stacks(StackName=name)["Stacks"]
        except AwsNotFound:
            return None
        return StackView(
            name=raw["StackName"],
            stack_id=raw["StackId"],
            status=raw["StackStatus"],
            reason=raw.get("StackStatusReason", ""),
            outputs={o["OutputKey"]: o.get("OutputValue", "") for o in raw.get("Outputs", [])},
            parameters={
                p["ParameterKey"]: p.get("ParameterValue", "") for p in raw.get("Parameters", [])
            },
            tags={t["Key"]: t["Value"] for t in raw.get("Tags", [])},
        )

    def propose(
        self,
        name: str,
        change_set: str,
        template: str,
        parameters: list[dict[str, Any]],
        *,
        create: bool,
        tags: Mapping[str, str],
    ) -> str:
        """Begin a change set and return its id; `change_set` of that id tells when it is there."""
        with mapped("cloudformation:CreateChangeSet", name):
            answer = self._client.create_change_set(
                StackName=name,
                ChangeSetName=change_set,
                ChangeSetType="CREATE" if create else "UPDATE",
                TemplateBody=template,
                Parameters=parameters,
                Capabilities=CAPABILITIES,
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            )
        return str(answer["Id"])

    def change_set(self, change_set_id: str) -> ChangeSet:
        """How a change set stands, with all its changes."""
        changes: list[Change] = []
        request = {"ChangeSetName": change_set_id}
        while True:
            with mapped("cloudformation:DescribeChangeSet", change_set_id):
                answer = self._client.describe_change_set(**request)
            changes += [_change(each["ResourceChange"]) for each in answer.get("Changes", [])]
            if not answer.get("NextToken"):
                break
            request["NextToken"] = answer["NextToken"]
        return ChangeSet(
            change_set_id, answer["Status"], answer.get("StatusReason", ""), tuple(changes)
        )

    def execute(self, change_set_id: str) -> None:
        with mapped("cloudformation:ExecuteChangeSet", change_set_id):
            self._client.execute_change_set(ChangeSetName=change_set_id)

    def discard(self, change_set_id: str) -> None:
        with mapped("cloudformation:DeleteChangeSet", change_set_id):
            self._client.delete_change_set(ChangeSetName=change_set_id)

    def events(self, stack_id: str) -> Iterator[StackEvent]:
        """Newest first."""
        pages = self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id)
        with mapped("cloudformation:DescribeStackEvents", stack_id):
            for page in pages:
                for raw in page["StackEvents"]:
                    yield StackEvent(
                        raw["EventId"],
                        raw.get("LogicalResourceId", ""),
                        raw.get("ResourceType", ""),
                        raw.get("ResourceStatus", ""),
                        raw.get("ResourceStatusReason", ""),
                    )

    def delete(self, name: str) -> None:
        with mapped("cloudformation:DeleteStack", name):
            self._client.delete_stack(StackName=name)


def _change(raw: Mapping[str, Any]) -> Change:
    return Change(
        raw["Action"], raw["LogicalResourceId"], raw["ResourceType"], raw.get("Replacement", "")
    )
