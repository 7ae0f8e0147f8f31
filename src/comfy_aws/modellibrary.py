"""The model library: every model that was ever sent to the bucket, by folder and name."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from comfy_aws import layout
from comfy_aws.aws import ObjectStore, StoredObject
from comfy_aws.companions import belongs
from comfy_aws.errors import AwsNotFound, NotFound
from comfy_aws.models import BlobRef, Manifest, ModelFile, from_json, to_json

READERS = 16
"""Documents read at once."""


class ModelLibrary:
    """The bucket's models by folder and name, for machines that do not have the file."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._entered: dict[tuple[str, str], BlobRef] = {}
        self._read: dict[str, tuple[str, ModelFile]] = {}

    def enter(self, manifest: Manifest, *, known: Manifest | None = None) -> None:
        """Record the manifest's models; those entered before by this process cost nothing.

        Args:
            known: a stored manifest, whose models were entered when it was stored.
        """
        before = {(m.folder, m.name, m.blob) for m in known.models} if known else set()
        for model in manifest.models:
            if self._entered.get((model.folder, model.name)) == model.blob:
                continue
            if (model.folder, model.name, model.blob) in before:
                continue
            self._store.put(
                layout.model_key(model.folder, model.name), to_json(model).encode(),
                content_type="application/json",
            )  # fmt: skip
            self._entered[model.folder, model.name] = model.blob

    def list(self) -> list[ModelFile]:
        """Every model in the library; entries that have not changed are read once."""

        def read(entry: StoredObject) -> tuple[str, tuple[str, ModelFile]] | None:
            known = self._read.get(entry.key)
            if known is None or known[0] != entry.etag:
                try:
                    known = entry.etag, from_json(ModelFile, self._store.get(entry.key))
                except AwsNotFound:
                    return None  # taken out at this moment
            return entry.key, known

        entries = list(self._store.list(layout.MODELS))
        with ThreadPoolExecutor(READERS) as pool:
            self._read = dict(filter(None, pool.map(read, entries)))
        return [model for _, model in self._read.values()]

    def get(self, folder: str, name: str) -> ModelFile:
        """Raises NotFound."""
        key = layout.model_key(folder, name)
        try:
            return from_json(ModelFile, self._store.get(key), where=key)
        except AwsNotFound as exc:
            raise NotFound(
                f"The bucket has no model {name} in {folder}.", hint="Refresh the list of models."
            ) from exc

    def remove(self, folder: str, name: str) -> None:
        """Offer a model no more; its blob stays for the versions that name it. Raises NotFound."""
        self.get(folder, name)
        self._store.delete(layout.model_key(folder, name))
        self._entered.pop((folder, name), None)

    def find(self, name: str, folder: str = "") -> Sequence[ModelFile]:
        """The models of this name, with what belongs to them; in any folder unless one is named."""
        keys = [entry.key for entry in self._store.list(layout.MODELS)]
        found: dict[str, ModelFile] = {}

        def read(key: str) -> ModelFile | None:
            with suppress(AwsNotFound):  # taken out at this moment
                return from_json(ModelFile, self._store.get(key), where=key)
            return None

        for key in keys:
            # A folder's name may have a slash in it, so that only the entry itself can tell.
            model = read(key) if key.endswith(f"/{name}.json") else None
            if model is None or model.name != name or folder not in ("", model.folder):
                continue
            found[key] = model
            prefix = layout.model_key(model.folder, "").removesuffix(".json")
            for other in keys:
                more = other.removeprefix(prefix).removesuffix(".json")
                if other.startswith(prefix) and belongs(name, more) and (part := read(other)):
                    found[other] = part
        return list(found.values())
