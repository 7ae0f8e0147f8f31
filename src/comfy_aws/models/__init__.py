"""The values that the parts exchange: frozen, without I/O, JSON in and out.

Times are seconds since the epoch (UTC), sizes are bytes, durations are seconds.
"""

from comfy_aws.models.content import (
    BlobRef,
    BuiltEnvironment,
    Environment,
    HelpFile,
    InputFile,
    InputPlace,
    LocalPath,
    Manifest,
    ModelFile,
    NodePack,
    PackFault,
)
from comfy_aws.models.documents import Json, from_dict, from_json, to_dict, to_json
from comfy_aws.models.endpoints import Endpoint, EndpointSpec, EndpointStatus
from comfy_aws.models.jobs import (
    Event,
    EventBatch,
    EventKind,
    Job,
    JobError,
    JobFacts,
    JobRequest,
    JobResult,
    JobState,
    Outcome,
    OutputFile,
    Progress,
    SavedFile,
    Usage,
)
from comfy_aws.models.templates import ChosenInput, Collecting, Template, TemplateVersion

__all__ = [
    "BlobRef",
    "BuiltEnvironment",
    "ChosenInput",
    "Collecting",
    "Endpoint",
    "EndpointSpec",
    "EndpointStatus",
    "Environment",
    "Event",
    "EventBatch",
    "EventKind",
    "HelpFile",
    "InputFile",
    "InputPlace",
    "Job",
    "JobError",
    "JobFacts",
    "JobRequest",
    "JobResult",
    "JobState",
    "Json",
    "LocalPath",
    "Manifest",
    "ModelFile",
    "NodePack",
    "Outcome",
    "OutputFile",
    "PackFault",
    "Progress",
    "SavedFile",
    "Template",
    "TemplateVersion",
    "Usage",
    "from_dict",
    "from_json",
    "to_dict",
    "to_json",
]
