"""What a deploy needs of CloudFormation and moto lacks: outputs, parameters and conditions.

moto leaves resources it does not know as placeholders without a name; for most of deploy/stack.yaml
nobody notices. But a stack that came by a change set has no outputs there, keeps its first
parameters, is shown and updated with what its conditions leave out, loses what moto cannot update,
such as a machine, takes what it has removed for what is there when it comes again, and cannot be
deleted while it has images.
"""

from __future__ import annotations

from typing import Any

from moto.cloudformation.models import ChangeSet
from moto.cloudformation.parsing import NULL_MODELS, ResourceMap
from moto.core.common_models import CloudFormationModel


class WaitCondition(CloudFormationModel):  # type: ignore[misc]
    """Fulfilled at once: no machine of the local stack ever runs."""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::CloudFormation::WaitCondition"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Data"

    def get_cfn_attribute(self, _attribute: str) -> str:
        return "{}"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, *_args: Any, **_kwargs: Any
    ) -> WaitCondition:
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: WaitCondition, *_args: Any, **_kwargs: Any
    ) -> WaitCondition:
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(cls, *_args: Any, **_kwargs: Any) -> None:
        """Nothing is left of it."""


def install() -> None:
    """Complete moto's change sets; the class above needs only to exist."""
    setattr(ChangeSet, "apply", _apply)  # noqa: B010
    setattr(ChangeSet, "diff", _diff)  # noqa: B010
    setattr(ResourceMap, "_delete_resource", _delete_resource)  # noqa: B010
    setattr(CloudFormationModel, "update_from_cloudformation_json", classmethod(_stays))  # noqa: B010
    kind = WaitCondition.cloudformation_type()
    if kind in NULL_MODELS:  # which moto skips
        NULL_MODELS.remove(kind)


_delete_full = ResourceMap._delete_resource  # noqa: SLF001 – moto has no other way to it


def _delete_resource(self: ResourceMap, resource: Any, wish: dict[str, Any]) -> None:
    if wish.get("Properties", {}).get("EmptyOnDelete"):  # which moto does not know
        resource.images.clear()
    _delete_full(self, resource, wish)


def _stays(_cls: type[Any], /, original_resource: Any, **_kwargs: Any) -> Any:
    """What moto has no update for stays as it is."""
    return original_resource


_diff_of_all = ChangeSet.diff


def _diff(self: ChangeSet) -> list[Any]:
    template = self.template_dict
    self.template_dict = _with_conditions(self.stack, template, self.parameters)
    try:
        found: list[Any] = _diff_of_all(self)
    finally:
        self.template_dict = template
    return found


def _apply(self: ChangeSet) -> None:
    stack = self.stack
    template = _with_conditions(stack, self.template_dict, self.parameters)
    stack.resource_map.update(template, self.parameters)
    made = stack.resource_map._parsed_resources  # noqa: SLF001 – moto has no other way to it
    for name in made.keys() & (
        self.template_dict["Resources"].keys() - template["Resources"].keys()
    ):
        del made[name]
    stack.template_dict, stack.parameters = template, self.parameters
    stack.output_map = stack._create_output_map()  # noqa: SLF001 – moto has no other way to it


def _with_conditions(
    stack: Any, template: dict[str, Any], parameters: dict[str, str]
) -> dict[str, Any]:
    """The template without the resources whose condition is false, which moto would update."""
    known = ResourceMap(
        stack.stack_id,
        stack.name,
        parameters,
        stack.tags,
        account_id=stack.account_id,
        region_name=stack.region_name,
        template={**template, "Outputs": {}},  # else checked against resources that moto lacks
        cross_stack_resources=stack.cross_stack_resources,
    )
    known.load()
    kept = {
        name: resource
        for name, resource in template["Resources"].items()
        if known.lazy_condition_map.get(resource.get("Condition"), True)
    }
    return {**template, "Resources": kept}
