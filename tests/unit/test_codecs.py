"""Covers: small WebP pictures of what users give, and nothing else of it."""

from __future__ import annotations

import io

import PIL.Image
import PIL.PngImagePlugin
import pytest

from comfy_aws import codecs
from comfy_aws.errors import InvalidFile


def encoded(image: PIL.Image.Image, kind: str, **more: object) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **more)
    return made.getvalue()


def opened(body: bytes) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(body))
    image.load()
    return image


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_any_of_three_kinds_becomes_a_small_webp(kind: str) -> None:
    cover = opened(codecs.cover_of(encoded(PIL.Image.new("RGB", (1024, 2048), "red"), kind)))
    assert (cover.format, cover.size) == ("WEBP", (256, 512))


def test_a_small_picture_is_not_blown_up_and_stays_transparent() -> None:
    cover = opened(codecs.cover_of(encoded(PIL.Image.new("RGBA", (8, 8), (9, 9, 9, 0)), "PNG")))
    assert (cover.mode, cover.size) == ("RGBA", (8, 8))


def test_nothing_but_pixels_is_kept() -> None:
    secret = PIL.PngImagePlugin.PngInfo()
    secret.add_text("workflow", "a secret graph")
    body = encoded(PIL.Image.new("RGB", (64, 64)), "PNG", pnginfo=secret)
    assert b"a secret graph" in body
    assert b"a secret graph" not in codecs.cover_of(body)


@pytest.mark.parametrize("body", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"<svg/>"])
def test_what_is_no_picture(body: bytes) -> None:
    with pytest.raises(InvalidFile, match="not a PNG, JPEG or WebP picture"):
        codecs.cover_of(body)


def test_other_kinds_and_cut_pictures_are_refused() -> None:
    image = PIL.Image.effect_noise((64, 64), 90)
    for body in (encoded(image, "GIF"), encoded(image, "PNG")[:-200]):
        with pytest.raises(InvalidFile):
            codecs.cover_of(body)


def test_too_much_is_refused_before_it_is_unpacked() -> None:
    many = encoded(PIL.Image.new("1", (16_000, 5_000)), "PNG")
    assert len(many) < 100_000
    with pytest.raises(InvalidFile, match="16000 x 5000"):
        codecs.cover_of(many)
    with pytest.raises(InvalidFile, match="at most 33554432 bytes"):
        codecs.cover_of(bytes(codecs.COVER_BYTES + 1))
