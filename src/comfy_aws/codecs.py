"""The only module that knows image bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from comfy_aws.errors import InvalidFile

if TYPE_CHECKING:
    from PIL.Image import Image

COVER_SIDE: Final = 512
"""Pixels of a cover's longer side."""

COVER_BYTES: Final = 32 * 1024 * 1024
COVER_PIXELS: Final = 64_000_000
"""What is taken as a cover at most; a small file may unpack to any number of pixels."""

COVER_TYPE: Final = "image/webp"


def open_image(body: bytes) -> Image:
    """A decoded preview. Raises OSError when the bytes are no image."""
    import PIL.Image

    image = PIL.Image.open(io.BytesIO(body))
    image.load()
    return image


def cover_of(body: bytes) -> bytes:
    """A template's cover from a PNG, JPEG or WebP: a small WebP with the pixels and nothing else.

    Raises:
        InvalidFile: the bytes are no such picture, or too many.
    """
    import PIL.Image
    import PIL.ImageOps

    if len(body) > COVER_BYTES:
        raise InvalidFile(
            f"A cover picture has at most {COVER_BYTES} bytes; this has {len(body)}.",
            hint="Choose a smaller one.",
        )
    made = io.BytesIO()
    try:
        with PIL.Image.open(io.BytesIO(body), formats=("PNG", "JPEG", "WEBP")) as opened:
            if opened.width * opened.height > COVER_PIXELS:
                raise InvalidFile(
                    f"A cover picture has at most {COVER_PIXELS} pixels; "
                    f"this has {opened.width} x {opened.height}.",
                    hint="Choose a smaller one.",
                )
            picture = PIL.ImageOps.exif_transpose(opened)
            picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
            picture.thumbnail((COVER_SIDE, COVER_SIDE))
            picture.save(made, "WEBP", quality=85, exif=b"", icc_profile=None)
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as exc:
        raise InvalidFile(
            f"The cover is not a PNG, JPEG or WebP picture: {exc}.", hint="Choose another one."
        ) from exc
    return made.getvalue()
