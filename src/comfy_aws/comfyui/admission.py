"""Which prompts are for AWS, and what of them can run there: asked before ComfyUI validates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from comfy_aws import layout, validation
from comfy_aws import prompt as graphs
from comfy_aws.comfyui.catalog import ComfyUICatalog, node_info
from comfy_aws.comfyui.definitions import with_stored_choices
from comfy_aws.config import Config
from comfy_aws.errors import ComfyAwsError, Conflict, InvalidWorkflow
from comfy_aws.models import Json, TemplateVersion
from comfy_aws.services import Services


@dataclass(frozen=True)
class Checked:
    """What was found of a prompt before ComfyUI has it.

    `refusal` is ComfyUI's answer to one that cannot run (``error`` and ``node_errors``), None for
    all others. `outputs` are the output nodes that run where ComfyUI cannot tell, `node_errors`
    what is wrong with the others.
    """

    refusal: Json | None = None
    outputs: tuple[str, ...] | None = None
    node_errors: Json = field(default_factory=dict)


class Admission:
    """Looks at the prompts that this ComfyUI is sent.

    Args:
        config: the configuration as it stands at the moment.
        services: this ComfyUI's services; raises ConfigError and LocalStackError as they do.
    """

    def __init__(
        self,
        catalog: ComfyUICatalog,
        config: Callable[[], Config],
        services: Callable[[], Services],
    ) -> None:
        self._catalog = catalog
        self._config = config
        self._services = services

    def mark_of(self, extra_data: Json) -> Json | None:
        """The mark of a prompt that shall run on AWS: ``{"template", "endpoint"}``, or None.

        Raises:
            InvalidWorkflow, InvalidName: there is a mark and it is not one we know.
        """
        mark = extra_data.get(graphs.MARK)
        config = self._config()
        if mark is None:
            if not config.routes_all:
                return None
            mark = {"template": config.route_template}
        if not isinstance(mark, dict):
            raise InvalidWorkflow(
                f'extra_data.{graphs.MARK} is an object such as {{"template": "name"}}; '
                f"got {mark!r}."
            )  # fmt: skip
        template, endpoint = mark.get("template") or "", mark.get("endpoint") or ""
        if template:
            layout.check_template_name(template)
        if endpoint:
            layout.check_endpoint_name(endpoint)
        return {"template": template, "endpoint": endpoint}

    def check(self, body: Json) -> Checked:
        """See what of a marked prompt can run; blocking, for a thread."""
        try:
            mark = self.mark_of(body.get("extra_data") or {})
            if mark is None or "prompt" not in body:
                return Checked()
            prompt = graphs.check_prompt(body["prompt"])
            self._check_id(body)
            services = self._services()
            if mark["endpoint"]:
                services.router.check(mark["endpoint"])
            else:
                services.router.endpoint(mark["template"])
            version = services.router.version(mark["template"]) if mark["template"] else None
            prompt = self.renewed(prompt, version)
            wanted = targets(body)
            if not self.is_remote(prompt, wanted, version):
                return Checked()
            errors = self._validate_remote(prompt, version, services)
            named = validation.output_nodes(prompt, self.definitions(prompt, version))
        except ComfyAwsError as exc:
            return Checked(_refusal(exc))
        asked = [node_id for node_id in named if wanted is None or node_id in wanted]
        sound, node_errors = validation.runnable(prompt, errors, asked)
        if sound or not node_errors:
            return Checked(outputs=sound, node_errors=node_errors)
        first = next(iter(node_errors.values()))["errors"][0]
        error = {"type": "prompt_outputs_failed_validation", "message": first["message"],
                 "details": "", "extra_info": {}}  # fmt: skip
        return Checked({"error": error, "node_errors": node_errors})

    def _check_id(self, body: Json) -> None:
        if body.get("prompt_id") is not None:
            job_id = layout.check_job_id(body["prompt_id"])
            if self._services().jobs.is_live(job_id):
                raise Conflict(
                    f"A job {job_id} is under way already.", hint="Send another prompt_id."
                )

    def is_remote(
        self, prompt: Json, wanted: frozenset[str] | None, version: TemplateVersion | None
    ) -> bool:
        """Whether a graph has classes or, where it runs, choices that this ComfyUI does not have.

        Args:
            wanted: ids of the output nodes that are asked for; None for all.
            version: of the template that the graph is of, whose nodes may have other choices.
        """
        stored = version.object_info if version else {}
        if any(not self._catalog.knows(name) for name in graphs.classes(prompt)):
            return True
        outputs = tuple(
            node_id for node_id, node in prompt.items()
            if self._catalog.is_output(node["class_type"]) and (wanted is None or node_id in wanted)
        )  # fmt: skip
        for literal in graphs.literals(graphs.needed(prompt, outputs)):
            if isinstance(literal.value, str) and literal.value:
                options = self._catalog.options(literal)
                if options is None or literal.value in options:
                    continue
                if validation.is_listed(stored, literal):
                    return True
                if self._catalog.wanted_file(literal) and self._catalog.input_of(literal) is None:
                    return True
        return False

    def renewed(self, prompt: Json, version: TemplateVersion | None) -> Json:
        """The graph with others for node classes that neither this ComfyUI nor the template has."""
        stored = version.object_info if version else {}
        classes = graphs.classes(prompt)
        is_known = all(name in stored or self._catalog.knows(name) for name in classes)
        return prompt if is_known else self._catalog.renewed(prompt)

    def _validate_remote(
        self, prompt: Json, version: TemplateVersion | None, services: Services
    ) -> Json:
        manifest = version.manifest if version else None
        names = {part.name for part in manifest.parts()} if manifest else set()

        def offered(_class_type: str, value: str) -> bool:
            return value in names or bool(services.library.find(value))

        return validation.validate(prompt, self.definitions(prompt, version), offered=offered)

    def definitions(self, prompt: Json, version: TemplateVersion | None) -> Json:
        """The classes of a graph as ``object_info`` has them: those here with the template's
        choices, and those that the template alone knows.
        """
        stored = version.object_info if version else {}
        here = {name: node_info(name) for name in graphs.classes(prompt)
                if self._catalog.knows(name)}  # fmt: skip
        merged = {**stored, **here}
        for name in stored.keys() & here.keys():
            merged[name] = with_stored_choices(here[name], stored[name])
        return merged


def targets(body: Json) -> frozenset[str] | None:
    """The ids of the output nodes that a prompt asks for; None for all."""
    targets = body.get("partial_execution_targets")
    return None if targets is None else frozenset(map(str, targets))


def _refusal(exc: ComfyAwsError) -> Json:
    """An error of ours as POST /prompt answers it; the page shows `message`."""
    error = {"type": f"aws_{exc.code}", "message": str(exc), "details": "", "extra_info": {}}
    return {"error": error, "node_errors": getattr(exc, "node_errors", {})}
