"""The composition root: builds the services from the configuration, and nothing else does."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from comfy_aws.aws import Identity, Logs, ObjectStore, Pricing, Queues, SageMaker, Session
from comfy_aws.blobs import Blobs
from comfy_aws.capture import Capturer
from comfy_aws.config import AwsAccess, Config
from comfy_aws.costs import Costs, Limits
from comfy_aws.deployments import Deployments, Tell
from comfy_aws.doctor import Doctor
from comfy_aws.endpoint_plan import WorkerImage
from comfy_aws.endpoints import Endpoints
from comfy_aws.errors import ConfigError, LocalStackError
from comfy_aws.events import Mailbox, NoMailbox
from comfy_aws.fetches import Fetcher
from comfy_aws.hashcache import HashCache
from comfy_aws.job_reports import JobReports
from comfy_aws.jobindex import StoredJob, stored_jobs
from comfy_aws.jobs import Jobs
from comfy_aws.ledger import Ledger
from comfy_aws.localmodels import LocalModels, Places
from comfy_aws.modellibrary import ModelLibrary
from comfy_aws.models import Environment, Json
from comfy_aws.modelstore import ModelStore
from comfy_aws.packfaults import PackFaults
from comfy_aws.preflight import Preflight
from comfy_aws.pricelist import PriceList
from comfy_aws.probes import Patient, Probes
from comfy_aws.publications import Publications
from comfy_aws.publish import Publisher, Uploader
from comfy_aws.rate import UploadRate
from comfy_aws.residency import Residency
from comfy_aws.resolve import Catalog
from comfy_aws.routing import Router
from comfy_aws.stack import is_at, read_state
from comfy_aws.starts import Starts
from comfy_aws.stored_catalog import StoredCatalog
from comfy_aws.template_files import TemplateFiles
from comfy_aws.template_runs import TemplateRuns
from comfy_aws.templates import Templates
from comfy_aws.terminal_runs import Deliver, RunQueues, TerminalRuns
from comfy_aws.transfers import Transfers
from comfy_aws.web import Web
from comfy_aws.webhooks import RECORD, Webhooks

URLS_HOLD: Final = 24 * 3600
"""Seconds that the URLs in a webhook's message hold."""

WEBHOOK_TIMEOUT: Final = 10.0
"""Seconds; a receiver answers first and works then."""


@dataclass(frozen=True)
class Local:
    """What needs no AWS: the models of this machine, and those on their way."""

    models: LocalModels
    fetcher: Fetcher
    transfers: Transfers


@dataclass(frozen=True)
class Cloud:
    """What needs no ComfyUI around it: the bucket, the endpoints, the logs."""

    access: AwsAccess
    store: ObjectStore
    queues: Queues
    sagemaker: SageMaker
    blobs: Blobs
    templates: Templates
    template_files: TemplateFiles
    library: ModelLibrary
    pack_faults: PackFaults
    endpoints: Endpoints
    router: Router
    logs: Logs
    identity: Identity
    prices: PriceList
    costs: Costs
    job_reports: JobReports
    starts: Starts
    doctor: Doctor


@dataclass(frozen=True)
class Services(Cloud):
    """Everything that a designer may use."""

    publisher: Publisher
    publications: Publications
    jobs: Jobs
    preflight: Preflight
    model_store: ModelStore
    template_runs: TemplateRuns
    webhooks: Webhooks
    _ledger: Ledger
    _cache: HashCache

    def close(self) -> None:
        """Stop threads and close files; live jobs go on at AWS."""
        self.publications.close()
        self.webhooks.close()
        self.jobs.close()
        self._ledger.close()
        self._cache.close()


def access_of(config: Config) -> tuple[AwsAccess, WorkerImage]:
    """How to reach AWS, and what its workers run.

    Raises:
        ConfigError: nothing is configured.
        LocalStackError: the local stack is chosen and does not run.
    """
    environment = {"COMFY_AWS_RUNNER_ARGS": config.runner_args} if config.runner_args else {}
    if config.target == "local":
        state = read_state(config.stack_home)
        if state is None:
            raise LocalStackError(
                "The local stack is not running.", hint="Start it: comfy-aws stack up."
            )
        access = AwsAccess(
            bucket=state.bucket,
            region=state.region,
            endpoint_url=state.endpoint_url,
            s3_endpoint_url=state.s3_endpoint_url,
            access_key_id=state.access_key_id,
            secret_access_key=state.secret_access_key,
        )
        image, role = state.image_uri, state.role_arn
        if config.comfyui:
            environment["COMFYUI_PATH"] = config.comfyui
    elif config.bucket:
        access = AwsAccess(config.bucket, config.region, config.profile)
        image, role = config.image, config.execution_role
    else:
        raise ConfigError(
            "No AWS account is configured.",
            hint="Set bucket, region and role in the settings, or start the local stack.",
        )
    environment["COMFY_AWS_BUCKET"] = access.bucket
    return access, WorkerImage(image, role, environment)


def connect(config: Config) -> Cloud:
    """Build what needs no ComfyUI.

    Raises:
        ConfigError, LocalStackError: as `access_of`.
    """
    access, worker = access_of(config)
    session = Session(access)
    store, sagemaker = ObjectStore(session), SageMaker(session)
    templates, blobs, library = Templates(store), Blobs(store), ModelLibrary(store)
    endpoints = Endpoints(sagemaker, worker, access.bucket)
    queues, logs, identity = Queues(session), Logs(session), Identity(session)
    pricing = None if config.target == "local" else Pricing(session)
    prices = PriceList(pricing, lambda: session.region, config.home / "prices.json")
    return Cloud(
        access=access,
        store=store,
        queues=queues,
        sagemaker=sagemaker,
        blobs=blobs,
        templates=templates,
        template_files=TemplateFiles(templates, blobs, library, config.home / "spool"),
        library=library,
        pack_faults=PackFaults(store),
        endpoints=endpoints,
        router=Router(templates, endpoints, config.endpoint),
        logs=logs,
        identity=identity,
        prices=prices,
        costs=Costs(prices),
        job_reports=JobReports(store),
        starts=Starts(logs, config.home / "starts.json"),
        doctor=Doctor(
            lambda patient: Probes(session, patient, rehearsed=is_at),
            Patient(
                worker,
                access.bucket,
                local=config.target == "local",
                limits_months=config.limits[1:] != (None, None),
            ),
            endpoints,
            config.home,
        ),
    )


def deployments(config: Config, tell: Tell) -> Deployments:
    """The stacks at AWS, whatever the target is: there is no stack to be configured yet."""
    access = AwsAccess("", config.region, config.profile)
    return Deployments(access, tell=tell, rehearsed=is_at)


def account(config: Config) -> tuple[str, str]:
    """Region and account number of the credentials in force."""
    session = Session(AwsAccess("", config.region, config.profile))
    return session.region, Identity(session).account()


def local(config: Config, places: Places) -> Local:
    """Build what needs no AWS."""
    models = LocalModels(places)
    fetcher = Fetcher(Web(private=config.fetches_private), models)
    return Local(models, fetcher, Transfers())


def model_store(config: Config) -> ModelStore:
    """Build what sends and fetches models without a designer.

    Raises:
        ConfigError, LocalStackError: as `access_of`.
    """
    cloud = connect(config)
    cache = HashCache(config.home / "hashes.sqlite")
    blobs = Blobs(cloud.store, uploads=cache)
    return ModelStore(blobs, cloud.library, cloud.templates, cache)


def build_publisher(config: Config, catalog: Catalog, cache: HashCache, spool: Path) -> Publisher:
    """Build what publishing needs, without a designer around it.

    Raises:
        ConfigError, LocalStackError: as `access_of`.
    """
    cloud = connect(config)
    blobs = Blobs(cloud.store, uploads=cache)
    capturer = Capturer(catalog, cache, spool, library=cloud.library)
    return Publisher(cloud.templates, Uploader(blobs, cloud.library, capturer), catalog)


def terminal_runs(
    config: Config, cloud: Cloud, *, listens: bool = True, disable_metadata: bool = False
) -> TerminalRuns:
    """Build what runs templates without a designer.

    Args:
        listens: whether the jobs' events are heard; else their ends alone.
        disable_metadata: as `Jobs` takes it.
    """
    cache = HashCache(config.home / "hashes.sqlite")
    spool = config.home / "spool"
    nothing = Capturer(StoredCatalog(Environment(), {}, frozenset()), cache, spool)
    uploader = Uploader(cloud.blobs, cloud.library, nothing)  # orders come with their manifests
    runs = TemplateRuns(cloud.templates, cloud.library, cloud.blobs, cloud.router, cache, spool)
    ledger = Ledger(Path(":memory:"))

    def make_jobs(mailbox: Callable[[Deliver], Mailbox | NoMailbox]) -> Jobs:
        return Jobs(
            cloud.store, cloud.sagemaker, uploader, cloud.router, ledger, mailbox,
            limits=limits(config, cloud), disable_metadata=disable_metadata,
        )  # fmt: skip

    def close() -> None:
        ledger.close()
        cache.close()

    queues = RunQueues(cloud.queues, config.home / "queues") if listens else None
    return TerminalRuns(runs, make_jobs, queues, close)


def limits(config: Config, cloud: Cloud) -> Limits:
    """What the settings allow jobs to cost."""
    job, month, user = config.limits
    known: dict[str, StoredJob] = {}
    return Limits(
        cloud.costs,
        lambda since: stored_jobs(cloud.store, since=since, known=known),
        job=job,
        month=month,
        user=user,
    )


def build(
    config: Config, state: Path, own: Path, catalog: Catalog, *, disable_metadata: bool = False
) -> Services:
    """Build the designer's services.

    Args:
        state: folder for the caches, which other processes may share.
        own: folder for the ledger and the webhooks, which are this process's alone.
        disable_metadata: as `Jobs` takes it.

    Raises:
        ConfigError, LocalStackError: as `access_of`.
    """
    cloud = connect(config)
    cache = HashCache(state / "hashes.sqlite")
    cloud = replace(cloud, blobs=Blobs(cloud.store, uploads=cache))
    ledger = Ledger(own / "ledger.sqlite")
    capturer = Capturer(catalog, cache, state / "spool", library=cloud.library)
    rate = UploadRate(state / "upload-rate.json")
    uploader = Uploader(cloud.blobs, cloud.library, capturer, rate)
    publisher = Publisher(cloud.templates, uploader, catalog)
    designer = ledger.fact("designer", uuid.uuid4().hex)
    jobs = Jobs(
        cloud.store,
        cloud.sagemaker,
        uploader,
        cloud.router,
        ledger,
        lambda deliver: Mailbox(cloud.queues, f"comfy-aws-{designer}", deliver),
        limits=limits(config, cloud),
        disable_metadata=disable_metadata,
    )
    runs = TemplateRuns(
        cloud.templates, cloud.library, cloud.blobs, cloud.router, cache, state / "spool"
    )
    cloud.endpoints.own_jobs = lambda name: sum(job.endpoint == name for job in ledger.live())
    residency = Residency(cloud.store, cloud.endpoints, cloud.router, ledger)
    return Services(
        **vars(cloud),
        publisher=publisher,
        publications=Publications(publisher),
        jobs=jobs,
        preflight=Preflight(
            cloud.blobs, uploader, cloud.router, rate, residency, cloud.pack_faults, catalog
        ),
        model_store=ModelStore(cloud.blobs, cloud.library, cloud.templates, cache),
        template_runs=runs,
        webhooks=_webhooks(config, own, cloud, jobs),
        _ledger=ledger,
        _cache=cache,
    )


def _webhooks(config: Config, own: Path, cloud: Cloud, jobs: Jobs) -> Webhooks:
    def report(job_id: str) -> Json | None:
        view = jobs.view(job_id)
        if not view.job.state.ended:
            return None
        return cloud.job_reports.of(job_id, view, expires=URLS_HOLD)

    web = Web(
        private=config.sends_private, setting="COMFY_AWS_WEBHOOK_PRIVATE", timeout=WEBHOOK_TIMEOUT
    )
    return Webhooks(own / RECORD, web, report)
