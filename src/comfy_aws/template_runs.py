"""Runs of templates by name with typed parameters, for programs: no graph, no ComfyUI.

What a version was published with is what runs, whatever lies on this machine; only input files
that the caller names, and models that the bucket has got since, are others. The routes and
`comfy-aws run` are two faces of this.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from comfy_aws import formats, layout
from comfy_aws import prompt as graphs
from comfy_aws.blobs import Blobs
from comfy_aws.callbacks import IsCancelled, OnProgress, never, no_progress
from comfy_aws.capture import Capturer
from comfy_aws.hashcache import HashCache
from comfy_aws.modellibrary import ModelLibrary
from comfy_aws.models import Json, Manifest, TemplateVersion
from comfy_aws.orders import Order
from comfy_aws.parameter_values import apply, named
from comfy_aws.parameters import Parameter, ParameterKind, raise_problems, settable
from comfy_aws.publish import Uploader
from comfy_aws.resolve import InputPath
from comfy_aws.routing import Router
from comfy_aws.stored_catalog import StoredCatalog
from comfy_aws.templates import Templates
from comfy_aws.validation import output_nodes

FindInput = Callable[[str], InputPath | None]
"""The input file of this machine that a name stands for, if there is one."""


class TemplateRuns:
    """Makes orders. Safe to share between threads.

    Args:
        spool: folder for archives on their way; none is made here.
    """

    def __init__(
        self,
        templates: Templates,
        library: ModelLibrary,
        blobs: Blobs,
        router: Router,
        cache: HashCache,
        spool: Path,
    ) -> None:
        self._templates = templates
        self._library = library
        self._blobs = blobs
        self._router = router
        self._cache = cache
        self._spool = spool

    def settable(self, name: str, version: int = 0) -> tuple[TemplateVersion, list[Parameter]]:
        """A version (0: the current one) with every widget that may be set.

        Raises:
            NotFound, InvalidName: there is none.
        """
        pointer = self._templates.get(name)
        stored = self._templates.version(name, version or pointer.version)
        return stored, list(settable(stored.prompt, stored.object_info, pointer.parameters))

    def order(
        self,
        name: str,
        values: Mapping[str, Any],
        *,
        find_input: FindInput,
        version: int = 0,
        endpoint: str = "",
        job_id: str = "",
        client_id: str = "",
        user: str = "",
        progress: OnProgress = no_progress,
        cancelled: IsCancelled = never,
    ) -> Order:
        """An order for the job service; its input files are in the bucket afterwards.

        Args:
            values: as `parameter_values.apply` takes them.
            find_input: asked for the files that `values` names.
            version: 0 for the current one.
            endpoint: where to run; empty for the template's own.
            user: who orders it.

        Raises:
            NotFound, InvalidName: there is no such template, version or endpoint.
            InvalidParameters: values do not fit.
            EndpointUnusable: no endpoint takes jobs now.
            Unresolved: the bucket lacks something.
            FileChanged, Cancelled, AwsError.
        """
        job_id = layout.check_job_id(job_id or str(uuid.uuid4()))
        stored, known = self.settable(name, version)
        graph = apply(stored.prompt, known, values, offered=self._offered(stored.manifest))
        wanted = {named(known, each).name: each for each in values}
        changed = [each for each in known if each.name in wanted]
        catalog = StoredCatalog(
            stored.manifest.environment,
            _inputs(graph, changed, wanted, stored.manifest, find_input),
            {(each.node, each.input) for each in changed},
        )
        if endpoint:
            self._router.check(layout.check_endpoint_name(endpoint))
        else:
            self._router.endpoint(name)
        uploader = Uploader(
            self._blobs,
            self._library,
            Capturer(catalog, self._cache, self._spool, library=self._library),
        )
        outputs = tuple(output_nodes(graph, stored.object_info))
        capture = uploader.capture(
            graphs.needed(graph, outputs), base=stored.manifest,
            progress=progress, cancelled=cancelled,
        )  # fmt: skip
        uploader.send(capture, base=stored.manifest, progress=progress, cancelled=cancelled)
        return Order(job_id, graph, outputs, template=name, endpoint=endpoint,
                     client_id=client_id, manifest=capture.manifest, user=user)  # fmt: skip

    def _offered(self, manifest: Manifest) -> Callable[[str], bool]:
        """Whether a choice is a model of the template or the bucket."""
        names = {model.name for model in manifest.models}

        def offered(choice: str) -> bool:
            is_model = formats.suffix_of(choice) in formats.MODELS
            return choice in names or (is_model and bool(self._library.find(choice)))

        return offered


def _inputs(
    graph: Json,
    changed: Iterable[Parameter],
    wanted: Mapping[str, str],
    manifest: Manifest,
    find_input: FindInput,
) -> dict[tuple[str, str], InputPath]:
    """The local files behind the file parameters that were set, by node and input."""
    found: dict[tuple[str, str], InputPath] = {}
    problems: dict[str, str] = {}
    published = {item.name for item in manifest.inputs}
    for parameter in changed:
        if parameter.kind is not ParameterKind.FILE:
            continue
        value = graph[parameter.node]["inputs"][parameter.input]
        path = find_input(value)
        if path is not None:
            found[parameter.node, parameter.input] = path
        elif value not in published:
            problems[wanted[parameter.name]] = (
                f"There is no input file {value}, neither here nor in the template."
            )
    raise_problems(problems)
    return found
