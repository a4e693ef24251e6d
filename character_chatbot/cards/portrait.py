"""A picture for a card that has none: the initials on a colour that the name decides."""

from __future__ import annotations

import colorsys
import hashlib
import io

SIZE = (400, 600)  # the shape that other programs show
LETTERS = 2


def draw_portrait(name: str) -> bytes:
    """A PNG of :data:`SIZE` pixels; the same for the same name."""
    from PIL import Image, ImageDraw, ImageFont

    hue = hashlib.sha256(name.encode("utf-8", "replace")).digest()[0] / 256
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, 0.32, 0.45))
    image = Image.new("RGB", SIZE, (red, green, blue))
    middle = (SIZE[0] / 2, SIZE[1] / 2)
    font = ImageFont.load_default(size=160)
    ImageDraw.Draw(image).text(middle, initials(name), fill=(255, 255, 255), font=font, anchor="mm")
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()


def initials(name: str) -> str:
    """The first letters of the first and the last word."""
    letters = [word[0].upper() for word in name.split() if word[0].isalnum()]
    return "".join(letters[:1] + letters[1:][-1:])[:LETTERS] or "?"
