"""The services on a local stack, and a designer's folder without a ComfyUI."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from comfy_aws import prompt as graphs
from comfy_aws.aws import PART, ObjectStore, Queues, SageMaker, Session
from comfy_aws.blobs import Blobs
from comfy_aws.callbacks import IsCancelled, OnProgress, never, no_progress
from comfy_aws.capture import Capturer
from comfy_aws.config import AwsAccess
from comfy_aws.hashcache import HashCache
from comfy_aws.helppages import WebFolder
from comfy_aws.modellibrary import ModelLibrary
from comfy_aws.models import Environment, InputPlace, Json, Template
from comfy_aws.publish import Publisher, Uploader
from comfy_aws.resolve import InputPath, Meant, ModelPath
from comfy_aws.stack import StackState
from comfy_aws.templates import Templates

WORKFLOW: Json = {"nodes": [{"id": 1, "type": "LoadModel"}], "links": []}
MODELS = {"LoadModel": "checkpoints", "LoadLora": "loras"}
"""Node classes whose `name` is a model, and the folder it comes from."""


def access_to(state: StackState) -> AwsAccess:
    return AwsAccess(
        bucket=state.bucket,
        region=state.region,
        endpoint_url=state.endpoint_url,
        s3_endpoint_url=state.s3_endpoint_url,
        access_key_id=state.access_key_id,
        secret_access_key=state.secret_access_key,
    )


class FolderCatalog:
    """The nodes and files of a designer, from a folder.

    Knows LoadModel and LoadLora (`name`), LoadImage (`image`), Text, Save, and PackNode of the
    pack `custom_nodes/pack`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("models", "input", "custom_nodes"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def model(self, name: str, body: bytes, folder: str = "checkpoints") -> Path:
        return self._write(self.root / "models" / folder / name, body)

    def image(self, name: str, body: bytes) -> Path:
        return self._write(self.root / "input" / name, body)

    def pack(self, **files: str) -> Path:
        for name, text in files.items():
            self._write(self.root / "custom_nodes/pack" / f"{name}.py", text.encode())
        return self.root / "custom_nodes/pack"

    @staticmethod
    def _write(path: Path, body: bytes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path

    # -- resolve.Catalog -----------------------------------------------------------------------

    def signs_in(self, class_type: str) -> bool:
        return False

    def renewed(self, prompt: Json) -> Json:
        return prompt

    def knows(self, class_type: str) -> bool:
        return class_type in {*MODELS, "LoadImage", "Text", "Save", "PackNode"}

    def pack_of(self, class_type: str) -> Path | None:
        return self.root / "custom_nodes/pack" if class_type == "PackNode" else None

    def models_of(self, literal: graphs.Literal) -> list[ModelPath]:
        folder = MODELS.get(literal.class_type, "")
        path = self.root / "models" / folder / graphs.posix(literal.value)
        if not folder or literal.name != "name" or not path.is_file():
            return []
        return [ModelPath(folder, literal.value, path)]

    def models_named(self, folder: str, name: str) -> list[ModelPath]:
        return []

    def models_read_by(self, class_type: str, inputs: Json) -> list[ModelPath]:
        return []

    def siblings(self, pack: Path | None) -> list[Path]:
        return []

    def source_of(self, class_type: str) -> Path | None:
        return None

    def is_added(self, literal: graphs.Literal) -> bool:
        return False

    def inputs_of(self, literal: graphs.Literal) -> list[InputPath]:
        path = self.root / "input" / literal.value
        if literal.class_type != "LoadImage" or not path.is_file():
            return []
        return [InputPath(InputPlace.INPUT, literal.value, path)]

    def path_of(self, literal: graphs.Literal) -> Meant | None:
        return None

    def wanted_file(self, literal: graphs.Literal) -> bool:
        return (literal.class_type in MODELS and literal.name == "name") or (
            literal.class_type == "LoadImage"
        )

    def offers(self, literal: graphs.Literal) -> bool:
        return True

    def object_info(self, class_types: Iterable[str]) -> Json:
        text = {"required": {"text": ["STRING", {"multiline": True}]}}

        def definition(name: str) -> Json:
            module = "custom_nodes.pack" if name == "PackNode" else "nodes"
            return {"name": name, "input": text if name == "Text" else {}, "python_module": module,
                    "output_node": name == "Save"}  # fmt: skip

        return {name: definition(name) for name in class_types if self.knows(name)}

    def web_folder(self, class_type: str) -> WebFolder | None:
        folder = self.root / "custom_nodes/pack/web"
        return WebFolder("pack", folder) if class_type == "PackNode" and folder.is_dir() else None

    def environment(self) -> Environment:
        return Environment(comfyui="0.0.0")


def model_node(name: str, class_type: str = "LoadModel") -> Json:
    return {"class_type": class_type, "inputs": {"name": name}}


class Wire:
    """Hears every request to S3 as it leaves, and answers in its place where told to.

    `sent` has (method, key) of what went out; keys have no bucket.
    """

    def __init__(self, session: Session) -> None:
        self.sent: list[tuple[str, str]] = []
        self.refuses: Callable[[str, str], bool] = lambda method, key: False
        self.before: Callable[[str, str], None] = lambda method, key: None
        session.client("s3").meta.events.register("before-send.s3", self._hear)

    def puts(self, prefix: str = "") -> list[str]:
        return [key for method, key in self.sent if method == "PUT" and key.startswith(prefix)]

    def _hear(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        method = str(request.method)
        key = unquote(urlsplit(str(request.url)).path).lstrip("/").partition("/")[2]
        self.before(method, key)
        if self.refuses(method, key):
            body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            return AWSResponse(str(request.url), 403, {}, _Raw(body))
        self.sent.append((method, key))
        return None


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterable[bytes]:
        yield self.read()


class Parts:
    """Everything that publishing needs, as the composition root puts it together."""

    def __init__(self, state: StackState, root: Path, *, part_size: int = PART) -> None:
        self.state = state
        self.access = access_to(state)
        self.session = Session(self.access)
        self.catalog = FolderCatalog(root)
        self.wire = Wire(self.session)
        self.store = ObjectStore(self.session, part_size=part_size)
        self.queues, self.sagemaker = Queues(self.session), SageMaker(self.session)
        self.cache = HashCache(root / "hashes.sqlite")
        self.blobs = Blobs(self.store, uploads=self.cache)
        self.templates = Templates(self.store)
        self.library = ModelLibrary(self.store)
        self.spool = root / "spool"
        # The models here are any bytes, whatever their names say.
        capturer = Capturer(
            self.catalog, self.cache, self.spool, library=self.library, fault_of=lambda path: ""
        )
        self.uploader = Uploader(self.blobs, self.library, capturer)
        self.publisher = Publisher(self.templates, self.uploader, self.catalog)

    def close(self) -> None:
        self.cache.close()

    def stranger(self, **changes: str) -> Session:
        """A session of somebody else, such as with other keys."""
        return Session(replace(self.access, **changes))

    def publish(
        self,
        name: str,
        prompt: Json,
        *,
        progress: OnProgress = no_progress,
        cancelled: IsCancelled = never,
        **wishes: Any,
    ) -> Template:
        return self.publisher.publish(
            name, WORKFLOW, prompt, progress=progress, cancelled=cancelled, **wishes
        )

    def keys(self, prefix: str = "") -> list[str]:
        return [entry.key for entry in self.store.list(prefix)]
