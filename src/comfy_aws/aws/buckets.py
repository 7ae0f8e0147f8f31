"""S3 buckets as such: whether one is there, and its end."""

from __future__ import annotations

from typing import Any

from comfy_aws.aws.account import Identity
from comfy_aws.aws.mapping import mapped
from comfy_aws.aws.session import Session
from comfy_aws.errors import AwsDenied, AwsNotFound


class Buckets:
    """The buckets that the credentials may use."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def _s3(self) -> Any:
        return self._session.client("s3")

    def exists(self, name: str) -> bool:
        """Raises AwsDenied when the bucket is another account's, though it were open to us.

        Names are global and ours can be guessed: a stranger's bucket would get all that is sent.
        """
        owner = Identity(self._session).account()
        try:
            with mapped("s3:HeadBucket", name):
                self._s3.head_bucket(Bucket=name, ExpectedBucketOwner=owner)
        except AwsNotFound:
            return False
        except AwsDenied as exc:
            raise AwsDenied(
                exc.message, operation=exc.operation, aws_code=exc.aws_code,
                hint=f"The bucket {name} is another account's, or the credentials (account {owner})"
                " may not use it. Name another one.",
            ) from exc  # fmt: skip
        return True

    def region(self, name: str) -> str:
        """Where the bucket lies; empty when S3 does not say."""
        with mapped("s3:HeadBucket", name):
            return str(self._s3.head_bucket(Bucket=name).get("BucketRegion") or "")

    def delete_versions(self, name: str) -> None:
        """Delete what deleted objects have left in a bucket that keeps, or kept, their versions."""
        with mapped("s3:GetBucketVersioning", name):
            if not self._s3.get_bucket_versioning(Bucket=name).get("Status"):
                return
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=name)
        with mapped("s3:ListBucketVersions", name):
            for page in pages:
                old = [
                    {"Key": each["Key"], "VersionId": each["VersionId"]}
                    for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
                ]
                if old:
                    self._s3.delete_objects(Bucket=name, Delete={"Objects": old, "Quiet": True})

    def delete(self, name: str) -> None:
        """Delete an empty bucket; one that does not exist is no error."""
        try:
            with mapped("s3:DeleteBucket", name):
                self._s3.delete_bucket(Bucket=name)
        except AwsNotFound:
            return
