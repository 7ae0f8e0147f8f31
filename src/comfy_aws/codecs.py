"""The only module that knows image bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def open_image(body: bytes) -> Image:
    """A decoded preview. Raises OSError when the bytes are no image."""
    import PIL.Image

    image = PIL.Image.open(io.BytesIO(body))
    image.load()
    return image
