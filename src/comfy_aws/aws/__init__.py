"""The AWS seam: the only importer of boto3, one module a service, typed in and out.

Every botocore error leaves here as one of `comfy_aws.errors`. Clients are made on first use and
are safe to share between threads.
"""

from comfy_aws.aws.account import Caller, Identity, LogEvent, Logs
from comfy_aws.aws.buckets import Buckets
from comfy_aws.aws.checkup import BucketRules, Checkup, Quota
from comfy_aws.aws.cloudformation import Stacks
from comfy_aws.aws.images import Build, Images
from comfy_aws.aws.machines import Machines
from comfy_aws.aws.metrics import Metrics
from comfy_aws.aws.pricing import Pricing
from comfy_aws.aws.queues import Message, Queues
from comfy_aws.aws.sagemaker import INLINE_BODY, Accepted, SageMaker, seconds
from comfy_aws.aws.session import Session
from comfy_aws.aws.store import ObjectStore, StoredObject
from comfy_aws.aws.uploads import PART, Begun, UploadLog

__all__ = [
    "INLINE_BODY",
    "PART",
    "Accepted",
    "Begun",
    "BucketRules",
    "Buckets",
    "Build",
    "Caller",
    "Checkup",
    "Identity",
    "Images",
    "LogEvent",
    "Logs",
    "Machines",
    "Message",
    "Metrics",
    "ObjectStore",
    "Pricing",
    "Queues",
    "Quota",
    "SageMaker",
    "Session",
    "Stacks",
    "StoredObject",
    "UploadLog",
    "seconds",
]
