"""The control plane: moto's backends in this process, made real where moto pretends.

moto keeps models, endpoint configurations, scaling policies, alarms, queues, topics and logs, and
speaks every protocol. Endpoints are ours: the SageMaker backend is replaced by a subclass whose
endpoint methods act on the `Fleet`, so endpoints that come by another way than the API, such as
CloudFormation, start workers too.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import (
    FakeEndpoint,
    FakeEndpointConfig,
    Model,
    SageMakerModelBackend,
    sagemaker_backends,
)
from moto.sagemaker.responses import SageMakerResponse

from comfy_aws.localstack import builds, cloudformation, records, strict
from comfy_aws.localstack.endpoints import Deployment, Endpoint, Variant
from comfy_aws.localstack.fleet import Fleet
from comfy_aws.localstack.quotas import Quotas
from comfy_aws.localstack.refusals import Refused
from comfy_aws.localstack.state import Identity, read_json, write_json

_T = TypeVar("_T")

WARM: Final = ("sqs", "sagemaker", "logs", "sts", "application-autoscaling", "cloudwatch", "sns")
"""moto modules that are loaded before the stack says it is ready."""

_DEFAULT_STARTUP_SECONDS: Final = 600
"""SageMaker's default for ContainerStartupHealthCheckTimeoutInSeconds."""
DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"


class _LimitExceeded(ServiceException):  # type: ignore[misc]
    code = "ResourceLimitExceeded"


class LocalSageMaker(SageMakerModelBackend):  # type: ignore[misc]
    """moto's SageMaker with endpoints that run. Its methods are called in worker threads."""

    __module__ = SageMakerModelBackend.__module__  # moto finds the URLs beside this module
    fleet: Fleet
    loop: asyncio.AbstractEventLoop
    identity: Identity
    quotas: Quotas
    restored = False
    """From then on models are held against roles and images, which no restart brings back."""

    def _on_loop(self, action: Coroutine[Any, Any, _T]) -> _T:
        try:
            return asyncio.run_coroutine_threadsafe(action, self.loop).result()
        except Refused as exc:
            raise ValidationError(message=exc.message) from exc

    def create_model(self, model_name: str, *args: Any, **kwargs: Any) -> Model:
        if model_name in self._models:
            arn = self._models[model_name].arn
            raise ValidationError(message=f'Cannot create already existing model "{arn}".')
        if self.restored:
            self._check_model(**kwargs)
        return super().create_model(model_name, *args, **kwargs)

    def _check_model(
        self,
        *,
        execution_role_arn: str,
        primary_container: dict[str, Any] | None = None,
        containers: list[dict[str, Any]] | None = None,
        **_: Any,
    ) -> None:
        try:
            strict.check_role(execution_role_arn, self.identity)
            for container in [primary_container or {}, *(containers or [])]:
                if "Image" in container:
                    strict.check_image(container["Image"], self.identity)
        except Refused as exc:
            raise ValidationError(message=exc.message) from exc

    def _check_quota(self, name: str, deployment: Deployment, counts: Mapping[str, int]) -> None:
        """Whether an endpoint may have so many instances of each variant. Of all that live."""
        for variant in deployment.variants:
            used = self._used(variant.instance_type)
            known = self.fleet.find(name)
            more = counts.get(variant.name, 0) - (known.desired[variant.name] if known else 0)
            if more <= 0:
                continue
            try:
                self.quotas.check(variant.instance_type, used, more)
            except Refused as exc:
                raise _LimitExceeded(exc.message) from exc

    def _used(self, instance_type: str) -> int:
        return sum(
            endpoint.desired.get(each.name, 0)
            for endpoint in self.fleet.all()
            for each in endpoint.deployment.variants
            if each.instance_type == instance_type
        )

    def _first_free(self, kinds: tuple[str, ...], count: int) -> str:
        """The most wanted type of which there are enough; AWS asks its stock, and we the quota."""
        for kind in kinds:
            if self._used(kind) + count <= self.quotas.of(kind):
                return kind
        return kinds[0]

    def create_endpoint_config(
        self, endpoint_config_name: str, *args: Any, **kwargs: Any
    ) -> FakeEndpointConfig:
        known = self.endpoint_configs.get(endpoint_config_name)
        if known is not None:
            arn = known.endpoint_config_arn
            message = f'Cannot create already existing endpoint configuration "{arn}".'
            raise ValidationError(message=message)
        try:
            for variant in kwargs.get("production_variants") or []:
                strict.check_pools(variant)
                strict.check_ami(variant)
        except Refused as exc:
            raise ValidationError(message=exc.message) from exc
        return super().create_endpoint_config(endpoint_config_name, *args, **kwargs)

    def create_endpoint(
        self, endpoint_name: str, endpoint_config_name: str, tags: list[dict[str, str]]
    ) -> FakeEndpoint:
        deployment = self._deployment(endpoint_config_name)
        counts = {variant.name: variant.instances for variant in deployment.variants}
        if self.fleet.find(endpoint_name) is None:
            self._check_quota(endpoint_name, deployment, counts)
        self._on_loop(self.fleet.create(endpoint_name, deployment))
        return self.shadow(endpoint_name, endpoint_config_name, tags)

    def shadow(self, name: str, config_name: str, tags: list[dict[str, str]]) -> FakeEndpoint:
        """moto's own record of an endpoint, by which it lists and tags."""
        fake = FakeEndpoint(
            account_id=self.account_id,
            region_name=self.region_name,
            endpoint_name=name,
            endpoint_config_name=config_name,
            production_variants=[],
            data_capture_config={},
            tags=tags,
        )
        self.endpoints[name] = fake
        self.refresh(name)
        return fake

    def _get_resource_from_arn(self, arn: str) -> Any:
        """SageMaker writes names in lower case into its ARNs; moto looks for the very name."""
        kind, _, name = arn.rpartition(":")[2].partition("/")
        known = {"endpoint": self.endpoints, "endpoint-config": self.endpoint_configs,
                 "model": self._models}.get(kind)  # fmt: skip
        if known is None:
            return super()._get_resource_from_arn(arn)
        for known_name, resource in known.items():
            if known_name.lower() == name.lower():
                return resource
        raise ValidationError(message=f'Could not find {kind} "{arn}".')

    def refresh(self, name: str) -> None:
        """Carry the endpoint's state over to moto's record of it."""
        endpoint, fake = self.fleet.find(name), self.endpoints.get(name)
        if endpoint is None or fake is None:
            return
        fake.endpoint_status = endpoint.status.value
        fake.creation_time = _moment(endpoint.created)
        fake.last_modified_time = _moment(endpoint.modified)

    def describe_endpoint(self, endpoint_name: str) -> dict[str, Any]:
        endpoint = self.fleet.find(endpoint_name)
        if endpoint is None:
            arn = self.fleet.arn(endpoint_name)
            raise ValidationError(message=f'Could not find endpoint "{arn}".')
        return _describe(endpoint, self.fleet.arn(endpoint_name))

    def update_endpoint(self, name: str, config_name: str, *, retain: bool) -> str:
        deployment = self._deployment(config_name)
        self._on_loop(self.fleet.update(name, deployment, retain=retain))
        return self.fleet.arn(name)

    def update_endpoint_weights_and_capacities(
        self, endpoint_name: str, desired_weights_and_capacities: list[dict[str, Any]]
    ) -> str:
        names = [item["VariantName"] for item in desired_weights_and_capacities]
        if len(set(names)) != len(names):
            raise ValidationError(message="A variant name was non-unique within the request.")
        counts = _given(desired_weights_and_capacities, "DesiredInstanceCount")
        weights = _given(desired_weights_and_capacities, "DesiredWeight")
        known = self.fleet.find(endpoint_name)
        if known is not None:
            self._check_quota(endpoint_name, known.deployment, counts)
        self._on_loop(self.fleet.scale(endpoint_name, counts, weights))
        return self.fleet.arn(endpoint_name)

    def delete_endpoint(self, endpoint_name: str) -> None:
        self._on_loop(self.fleet.delete(endpoint_name))

    def _deployment(self, config_name: str) -> Deployment:
        config = self.endpoint_configs.get(config_name)
        if config is None:
            raise ValidationError(message=f'Could not find endpoint configuration "{config_name}".')
        variants = tuple(self._variant(fields) for fields in config.production_variants)
        return Deployment(config_name, variants, config.async_inference_config)

    def _variant(self, fields: Mapping[str, Any]) -> Variant:
        model = self.describe_model(fields["ModelName"])
        container: dict[str, Any] = model.primary_container or next(iter(model.containers), {})
        ranked = sorted(fields.get("InstancePools", []), key=lambda pool: int(pool["Priority"]))
        pools = tuple(str(pool["InstanceType"]) for pool in ranked)
        count = int(fields.get("InitialInstanceCount", 1))
        kind = self._first_free(pools, count) if pools else str(fields["InstanceType"])
        return Variant(
            name=fields["VariantName"],
            model=fields["ModelName"],
            image=container.get("Image", ""),
            instances=count,
            weight=float(fields.get("InitialVariantWeight", 1.0)),
            environment={k: str(v) for k, v in (container.get("Environment") or {}).items()},
            startup_seconds=float(
                fields.get("ContainerStartupHealthCheckTimeoutInSeconds")
                or _DEFAULT_STARTUP_SECONDS
            ),
            instance_type=kind,
            pools=pools,
        )


def _given(items: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return {item["VariantName"]: item[key] for item in items if item.get(key) is not None}


def _moment(seconds: float) -> datetime:
    """In moto's way: UTC without a zone."""
    return datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)


def _describe(endpoint: Endpoint, arn: str) -> dict[str, Any]:
    deployment = endpoint.deployment
    answer: dict[str, Any] = {
        "EndpointName": endpoint.name,
        "EndpointArn": arn,
        "EndpointConfigName": deployment.config_name,
        "EndpointStatus": endpoint.status.value,
        "CreationTime": _moment(endpoint.created),
        "LastModifiedTime": _moment(endpoint.modified),
        "ProductionVariants": [
            {
                "VariantName": variant.name,
                "DeployedImages": [
                    {"SpecifiedImage": variant.image, "ResolvedImage": variant.image}
                ],
                "CurrentWeight": endpoint.weights[variant.name],
                "DesiredWeight": endpoint.weights[variant.name],
                "CurrentInstanceCount": endpoint.ready(variant.name),
                "DesiredInstanceCount": endpoint.desired[variant.name],
                **_pools(variant, endpoint.ready(variant.name)),
            }
            for variant in deployment.variants
        ],
    }
    if deployment.async_config:
        answer["AsyncInferenceConfig"] = deployment.async_config
    if endpoint.failure:
        answer["FailureReason"] = endpoint.failure
    return answer


def _pools(variant: Variant, ready: int) -> dict[str, Any]:
    if not variant.pools:
        return {}
    counts = {kind: ready if kind == variant.instance_type else 0 for kind in variant.pools}
    return {
        "InstancePools": [
            {"InstanceType": kind, "CurrentInstanceCount": count} for kind, count in counts.items()
        ]
    }


def _update_endpoint(self: SageMakerResponse) -> ActionResult:
    """The API call that moto lacks."""
    backend: LocalSageMaker = self.sagemaker_backend
    arn = backend.update_endpoint(
        self._get_param("EndpointName"),
        self._get_param("EndpointConfigName"),
        retain=bool(self._get_param("RetainAllVariantProperties")),
    )
    return ActionResult({"EndpointArn": arn})


def _any_variants(_self: FakeEndpointConfig, _variants: list[dict[str, Any]]) -> None:
    """They have been checked already; botocore's model is newer than what moto knows."""


class ControlPlane:
    """moto as a WSGI application, with our SageMaker in it and its state on disk.

    Args:
        path: where the state is kept.
    """

    def __init__(self, identity: Identity, fleet: Fleet, quotas: Quotas, path: Path) -> None:
        self._identity = identity
        self._fleet = fleet
        self._path = path
        self._saving = threading.Lock()
        self._saved: Any = None
        self._open = False
        self._app = DomainDispatcherApplication(create_backend_app)
        account, region = identity.account, identity.region
        self.sagemaker = LocalSageMaker(region, account)
        self.sagemaker.fleet = fleet
        self.sagemaker.identity, self.sagemaker.quotas = identity, quotas
        sagemaker_backends[account][region] = self.sagemaker
        self.scaling = applicationautoscaling_backends[account][region]
        setattr(SageMakerResponse, "update_endpoint", _update_endpoint)  # noqa: B010
        setattr(FakeEndpointConfig, "validate_production_variants", _any_variants)  # noqa: B010
        cloudformation.install()
        builds.install()
        fleet.on_change = self._endpoint_changed
        fleet.on_deleted = self._endpoint_deleted

    def warm(self) -> None:
        """Load the services that the product uses, so that no first call is slow."""
        for service in WARM:
            self._app.app_instances[service] = create_backend_app(service)

    # -- state ------------------------------------------------------------------------------

    def restore(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bring back what `control.json` holds. On the event loop's thread."""
        self.sagemaker.loop = loop
        saved = read_json(self._path) or {}
        records.restore(saved, self.sagemaker, self._identity)
        self._fleet.restore(saved.get("endpoints", []))
        for record in saved.get("endpoints", []):
            config = record["deployment"]["config_name"]
            self.sagemaker.shadow(record["name"], config, record.get("tags", []))
        self._open = self.sagemaker.restored = True
        self.save()

    def save(self) -> None:
        """Write the state down if it is not what was written last."""
        if not self._open:
            return
        with self._saving:
            state = records.snapshot(self.sagemaker, self._identity)
            state["endpoints"] = self._fleet.snapshot()
            for record in state["endpoints"]:
                fake = self.sagemaker.endpoints.get(record["name"])
                record["tags"] = list(fake.tags) if fake else []
            if state != self._saved:
                write_json(self._path, state)
                self._saved = state

    def _endpoint_changed(self) -> None:
        for endpoint in self._fleet.all():
            self.sagemaker.refresh(endpoint.name)
        self.save()

    def _endpoint_deleted(self, name: str) -> None:
        """Deleting an endpoint takes its scalable targets with it, as on AWS."""
        self.sagemaker.endpoints.pop(name, None)
        prefix = f"endpoint/{name}/variant/"
        targets = self.scaling.targets.get(DIMENSION, {})
        for resource in [key for key in targets if key.startswith(prefix)]:
            del targets[resource]
        for key, policy in list(self.scaling.policies.items()):
            if policy.resource_id.startswith(prefix):
                del self.scaling.policies[key]

    # -- requests ---------------------------------------------------------------------------

    def call(
        self, method: str, target: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Answer one request; runs in a worker thread."""
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": target,
            "REQUEST_URI": target,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers:
            key = name.upper().replace("-", "_")
            if key == "CONTENT_TYPE":
                environ[key] = value
            elif key != "CONTENT_LENGTH":
                environ[f"HTTP_{key}"] = value
        host, _, port = environ.get("HTTP_HOST", "127.0.0.1").partition(":")
        environ["SERVER_NAME"], environ["SERVER_PORT"] = host, port or "80"
        started: list[Any] = []

        def start_response(
            status: str, answer: list[tuple[str, str]], _exc: Any = None
        ) -> Callable[[bytes], object]:
            started[:] = [int(status.split(maxsplit=1)[0]), answer]
            return lambda _data: None

        chunks = self._app(environ, start_response)
        try:
            content = b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        return started[0], started[1], content
