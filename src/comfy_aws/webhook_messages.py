"""How a webhook is signed: by the Standard Webhooks specification. Pure.

The signature is over id, time and body, so that a receiver can refuse what is old, what it has
had already, and what somebody else made up.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from comfy_aws.errors import InvalidWebhook

PREFIX: Final = "whsec_"
"""How a secret begins."""


@dataclass(frozen=True)
class Webhook:
    """Whom to tell: an https URL, and the secret that signs, ``whsec_`` and base64; or empty."""

    url: str
    secret: str = ""


def key_of(secret: str) -> bytes:
    """The bytes that sign. Raises InvalidWebhook."""
    key = b""
    with suppress(binascii.Error, ValueError):
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    if not (secret.startswith(PREFIX) and 24 <= len(key) <= 64):
        raise InvalidWebhook(
            f"The secret of a webhook is {PREFIX} and 24 to 64 bytes in base64.",
            hint='Make one: python3 -c "import base64, os; '
            f"print('{PREFIX}' + base64.b64encode(os.urandom(32)).decode())\"",
        )
    return key


def signed(message_id: str, at: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers of a message."""
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
    }
    if secret:
        text = f"{message_id}.{at}.".encode() + body
        digest = hmac.new(key_of(secret), text, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers
