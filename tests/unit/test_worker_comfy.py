"""ComfyUI's frames and answers, parsed."""

from __future__ import annotations

import json
import struct

import pytest
from aiohttp import web

from comfy_aws.comfy import BinaryKind, ComfyClient, TextMessage, parse_binary, parse_text
from comfy_aws.errors import ComfyUIError, PromptRejected


def prefixed(head: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(head)) + head + body


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">I", kind) + payload


def test_preview_with_metadata():
    head = json.dumps({"node_id": "7", "image_type": "image/png"}).encode()
    message = parse_binary(frame(4, prefixed(head, b"\x89PNG")))
    assert message.kind == BinaryKind.PREVIEW_WITH_METADATA
    assert message.metadata == {"node_id": "7", "image_type": "image/png"}
    assert message.body == b"\x89PNG"


@pytest.mark.parametrize(("number", "kind"), [(1, "image/jpeg"), (2, "image/png"), (9, "")])
def test_preview_without_metadata(number, kind):
    message = parse_binary(frame(1, struct.pack(">I", number) + b"image"))
    assert (message.metadata, message.body) == ({"image_type": kind}, b"image")


def test_progress_text_keeps_its_payload_for_the_replay():
    payload = prefixed(b"12", "fünf".encode())
    message = parse_binary(frame(3, payload))
    assert (message.metadata, message.body.decode()) == ({"node_id": "12"}, "fünf")
    assert message.payload == payload


def test_a_kind_from_the_future_is_passed_on():
    message = parse_binary(frame(77, b"anything"))
    assert (message.kind, message.body, message.metadata) == (77, b"anything", {})


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\0\0",
        frame(1, b""),
        frame(3, struct.pack(">I", 9) + b"short"),
        frame(4, prefixed(b"{no json", b"image")),
        frame(4, prefixed(b"[]", b"image")),
    ],
)
def test_broken_frames(broken):
    with pytest.raises(ComfyUIError):
        parse_binary(broken)


def test_text_messages():
    assert parse_text('{"type": "executing", "data": {"node": null}}') == TextMessage(
        "executing", {"node": None}
    )
    assert parse_text('{"type": "odd", "data": [1]}') == TextMessage("odd", {"value": [1]})
    assert parse_text('{"type": "bare"}') == TextMessage("bare", {"value": None})


@pytest.mark.parametrize("text", ["no json", "[]", "{}", "3", "null"])
def test_text_that_is_no_event(text):
    with pytest.raises(ComfyUIError):
        parse_text(text)


@pytest.fixture
async def server(aiohttp_server):
    """Answers as ComfyUI does when it refuses or fails."""

    async def prompt(request: web.Request) -> web.Response:
        body = await request.json()
        return {
            "refused": web.json_response(
                {"error": {"type": "x", "message": "no"}, "node_errors": {"1": {}}}, status=400
            ),
            "text": web.json_response({"error": "only text", "node_errors": {}}, status=400),
            "odd": web.Response(text="what?", status=400),
            "fails": web.Response(text="Internal Server Error", status=500),
        }[body["prompt_id"]]

    async def history(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async def socket(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        greeting = await answer.receive_json()
        await answer.send_json({"type": "feature_flags", "data": greeting["data"]})
        await answer.send_bytes(b"\0")
        await answer.send_str("no json")
        await answer.send_json({"type": "last", "data": {}})
        await answer.close()
        return answer

    app = web.Application()
    app.router.add_post("/prompt", prompt)
    app.router.add_get("/history/{id}", history)
    app.router.add_get("/ws", socket)
    return await aiohttp_server(app)


async def test_a_refused_prompt(server):
    async with ComfyClient(str(server.make_url("")), "me") as client:
        with pytest.raises(PromptRejected) as refused:
            await client.submit({}, prompt_id="refused")
        assert refused.value.error["message"] == "no"
        assert refused.value.node_errors == {"1": {}}
        with pytest.raises(PromptRejected, match="only text"):
            await client.submit({}, prompt_id="text")
        with pytest.raises(PromptRejected, match="what"):
            await client.submit({}, prompt_id="odd")


async def test_other_failures(server, unused_tcp_port):
    async with ComfyClient(str(server.make_url("")), "me") as client:
        with pytest.raises(ComfyUIError, match="status 500: Internal"):
            await client.submit({}, prompt_id="fails")
        with pytest.raises(ComfyUIError, match="not JSON"):
            await client.history("a")
        with pytest.raises(ComfyUIError, match="status 404"):
            await client.queue()
    async with ComfyClient(f"http://127.0.0.1:{unused_tcp_port}", "me") as client:
        with pytest.raises(ComfyUIError, match="cannot be reached"):
            await client.system_stats()
        with pytest.raises(ComfyUIError, match="cannot be reached"):
            async for _ in client.listen():
                pass


async def test_garbled_messages_do_not_end_the_stream(server):
    async with ComfyClient(str(server.make_url("")), "me") as client:
        heard = [message async for message in client.listen()]
    assert heard == [
        TextMessage("feature_flags", {"supports_preview_metadata": True}),
        TextMessage("last", {}),
    ]
