"""The `resolve.Catalog` of a machine without nodes and models: templates run as published."""

# ruff: noqa: ARG002 – most answers are the same whatever is asked

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from comfy_aws import formats
from comfy_aws import prompt as graphs
from comfy_aws.helppages import WebFolder
from comfy_aws.models import Environment, Json
from comfy_aws.resolve import InputPath, Meant, ModelPath


class StoredCatalog:
    """What a template's stored version tells of itself.

    Args:
        inputs: the input files of this machine, by node and input.
        changed: the inputs that differ from the published ones, by node and input.
    """

    def __init__(
        self,
        environment: Environment,
        inputs: Mapping[tuple[str, str], InputPath],
        changed: AbstractSet[tuple[str, str]],
    ) -> None:
        self._environment = environment
        self._inputs = inputs
        self._changed = changed

    def knows(self, class_type: str) -> bool:
        return False

    def signs_in(self, class_type: str) -> bool:
        return False

    def renewed(self, prompt: Json) -> Json:
        return prompt

    def pack_of(self, class_type: str) -> Path | None:
        return None

    def siblings(self, pack: Path | None) -> list[Path]:
        return []

    def source_of(self, class_type: str) -> Path | None:
        return None

    def models_of(self, literal: graphs.Literal) -> list[ModelPath]:
        return []

    def models_named(self, folder: str, name: str) -> list[ModelPath]:
        return []

    def models_read_by(self, class_type: str, inputs: Json) -> list[ModelPath]:
        return []

    def inputs_of(self, literal: graphs.Literal) -> list[InputPath]:
        found = self._inputs.get((literal.node_id, literal.name))
        return [found] if found is not None else []

    def path_of(self, literal: graphs.Literal) -> Meant | None:
        return None

    def wanted_file(self, literal: graphs.Literal) -> bool:
        """What was published was complete; only another model can be one that nobody has."""
        is_changed = (literal.node_id, literal.name) in self._changed
        return is_changed and formats.suffix_of(literal.value) in formats.MODELS

    def offers(self, literal: graphs.Literal) -> bool:
        return True

    def is_added(self, literal: graphs.Literal) -> bool:
        return False

    def object_info(self, class_types: Iterable[str]) -> Json:
        return {}

    def web_folder(self, class_type: str) -> WebFolder | None:
        return None

    def environment(self) -> Environment:
        return self._environment
