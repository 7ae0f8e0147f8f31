"""Turns botocore's errors into ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from comfy_aws.errors import (
    AwsConflict,
    AwsDenied,
    AwsError,
    AwsNotFound,
    AwsUnreachable,
)

NO_REGION = "Set region in the settings, or AWS_REGION, such as us-east-1."

_DENIED = frozenset(
    {
        "403", "AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException",
        "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException",
        "SignatureDoesNotMatch", "UnrecognizedClientException", "AuthFailure",
        "MissingAuthenticationToken", "MissingAuthenticationTokenException",
        "IncompleteSignature", "NotAuthorized",
    }
)  # fmt: skip
_MISSING = frozenset(
    {
        "404", "NoSuchKey", "NoSuchBucket", "NotFound", "ResourceNotFound",
        "ResourceNotFoundException", "ObjectNotFoundException", "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
    }
)  # fmt: skip
_CONFLICT = frozenset(
    {"409", "412", "PreconditionFailed", "ConditionalRequestConflict", "ResourceInUse"}
)
_BUSY = frozenset(
    {
        "500", "502", "503", "504", "InternalError", "InternalFailure", "RequestTimeout",
        "ServiceUnavailable", "SlowDown",
    }
)  # fmt: skip


@contextmanager
def mapped(operation: str, what: str = "") -> Iterator[None]:
    """Turn botocore's errors into ours. `what` names the resource for the message."""
    from botocore import exceptions as boto
    from botocore import parsers

    about = f" for {what}" if what else ""
    try:
        yield
    except boto.ClientError as exc:
        raise client_error(exc.response, operation, about) from exc
    except (
        boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound,
        boto.TokenRetrievalError, boto.SSOError, boto.CredentialRetrievalError,
    ) as exc:  # fmt: skip
        raise AwsDenied(
            f"No AWS credentials for {operation}: {exc}.", operation=operation,
            hint="Set AWS_PROFILE, run `aws configure`, or give the machine a role.",
        ) from exc  # fmt: skip
    except boto.NoRegionError as exc:
        raise AwsError(
            "No region is set.", operation=operation,
            hint=NO_REGION,
        ) from exc  # fmt: skip
    except boto.ParamValidationError as exc:
        raise AwsError(
            f"{operation}{about} was called wrongly: {exc}", operation=operation
        ) from exc
    except (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError) as exc:
        raise AwsUnreachable(
            f"AWS cannot be reached for {operation}{about}: {exc}.", operation=operation,
            hint="Check the network, the region, and that the local stack is up if you use it.",
        ) from exc  # fmt: skip
    except parsers.ResponseParserError as exc:
        raise AwsUnreachable(
            f"{operation}{about} was answered with something that is not AWS's: {exc}",
            operation=operation,
            hint="Check that no proxy stands between, and AWS_ENDPOINT_URL if you set it.",
        ) from exc
    except boto.BotoCoreError as exc:
        raise AwsError(f"{operation}{about} failed: {exc}.", operation=operation) from exc


def client_error(response: Any, operation: str, about: str) -> AwsError:
    code = str(response.get("Error", {}).get("Code", ""))
    text = str(response.get("Error", {}).get("Message", "")) or code
    detail = {"operation": operation, "aws_code": code}
    message = f"{operation}{about}: {text} ({code})"
    # SageMaker and CloudFormation say that a request is not valid for what does not exist.
    lost = re.search(r"could not find|not found|^no .* found|does not exist", text, re.IGNORECASE)
    if code in _DENIED:
        return AwsDenied(
            message, hint=f"Check the credentials and the permission {operation}.", **detail
        )
    if code in _MISSING or (code in {"ValidationException", "ValidationError"} and lost):
        return AwsNotFound(message, **detail)
    if code in _CONFLICT or re.search(r"already exist|in-progress", text, re.IGNORECASE):
        return AwsConflict(message, **detail)
    if code == "ResourceLimitExceeded":
        return AwsError(
            message, hint="Ask for more in Service Quotas, or take another instance type.", **detail
        )
    if code in _BUSY:
        hint = "Try again in a moment, and check that the local stack is up if you use it."
        return AwsUnreachable(message, hint=hint, **detail)
    return AwsError(message, **detail)
