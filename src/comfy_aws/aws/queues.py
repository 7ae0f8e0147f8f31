"""SQS: standard queues, at least once and in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfy_aws.aws.mapping import mapped
from comfy_aws.aws.session import Session

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True)
class Message:
    """One received queue message; `receipt` deletes it."""

    body: str
    receipt: str


class Queues:
    """SQS standard queues: at least once, in any order."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def _sqs(self) -> SQSClient:
        client: SQSClient = self._session.client("sqs")
        return client

    def ensure(self, name: str, *, retention: int) -> str:
        """Create the queue unless it is there, and return its URL. `retention` in seconds."""
        with mapped("sqs:CreateQueue", name):
            answer = self._sqs.create_queue(
                QueueName=name, Attributes={"MessageRetentionPeriod": str(retention)}
            )
        return answer["QueueUrl"]

    def send(self, url: str, body: str) -> None:
        with mapped("sqs:SendMessage", url):
            self._sqs.send_message(QueueUrl=url, MessageBody=body)

    def receive(self, url: str, *, wait: int = 20) -> list[Message]:
        """Long-poll for up to ten messages; `wait` in seconds, at most 20."""
        with mapped("sqs:ReceiveMessage", url):
            answer = self._sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait
            )
        return [Message(m["Body"], m["ReceiptHandle"]) for m in answer.get("Messages", [])]

    def delete_messages(self, url: str, messages: list[Message]) -> None:
        if not messages:
            return
        with mapped("sqs:DeleteMessage", url):
            self._sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message.receipt}
                    for number, message in enumerate(messages)
                ],
            )

    def delete(self, url: str) -> None:
        with mapped("sqs:DeleteQueue", url):
            self._sqs.delete_queue(QueueUrl=url)
