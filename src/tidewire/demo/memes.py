"""
Memes, drawn by us. A sky, a drawing and a caption make one SVG, which is served as a file.

They use only presentation attributes: a `style` attribute or element would
violate the content security policy when the picture is opened by itself.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import NamedTuple

WIDTH, HEIGHT = 480, 360
INK = "#0b2a33"


class Meme(NamedTuple):
    name: str  # also the name of its drawing
    top: str
    bottom: str
    picture: str  # a description of the drawing
    sky: tuple[str, str]

    @property
    def alt(self) -> str:
        return f"{self.picture} Caption: “{self.top} / {self.bottom}”"


MEMES = (
    Meme(
        "duck",
        "explained the bug to the duck",
        "the duck had known since Tuesday",
        "A rubber duck afloat.",
        ("#bfe9ee", "#7fcbd8"),
    ),
    Meme(
        "snail",
        "polling every thirty seconds",
        "practically live",
        "A snail with speed lines behind it.",
        ("#cdeaf7", "#e7f5dd"),
    ),
    Meme(
        "lighthouse",
        "nothing to report",
        "still sending a comment every 15 s",
        "A lighthouse at night with a beam to each side.",
        ("#0c1f3f", "#27587a"),
    ),
    Meme(
        "keyboard",
        "who deployed on a Friday?",
        "asking for a cat",
        "An orange cat sitting on the keyboard of a laptop.",
        ("#f6e7d2", "#eccfae"),
    ),
    Meme(
        "octopus",
        "HTTP/1.1: six connections",
        "tab seven waits",
        "A worried octopus with a browser window in each of its six arms.",
        ("#134c63", "#1d7f92"),
    ),
    Meme(
        "goldfish",
        "last event id?",
        "have we met before?",
        "A goldfish in its bowl.",
        ("#f7d9c4", "#f2b8a2"),
    ),
    Meme(
        "ghost",
        "the connection is open",
        "the other end is not",
        "A ghost between the two ends of a torn cable.",
        ("#37325f", "#5a5296"),
    ),
    Meme(
        "teapot",
        "418",
        "and proud of it",
        "A smiling teapot with steam above it.",
        ("#f4e3c8", "#e4b98f"),
    ),
    Meme(
        "bottle",
        "message in a bottle",
        "at-most-once delivery",
        "A bottle with a letter in it, adrift at sea.",
        ("#f9cfa5", "#f4a987"),
    ),
    Meme(
        "surfer",
        "one event, a thousand subscribers",
        "encoded once",
        "A grey cat in sunglasses, surfing a big wave.",
        ("#ffe9c9", "#bfeaf0"),
    ),
    Meme(
        "box",
        "open or closed?",
        "nobody has read the socket yet",
        "A black cat looking out of a cardboard box.",
        ("#c9d5e8", "#9fb2cf"),
    ),
    Meme("moon", "quiet topic", "sweet dreams", "A cat asleep on the moon.", ("#141b3c", "#3b3f78")),
)


def svg(meme: Meme) -> str:
    """Return the picture as an SVG document."""
    light, dark = meme.sky
    drawing = files(__package__).joinpath("drawings", f"{meme.name}.svg").read_text("utf-8").strip()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' width="{WIDTH}" height="{HEIGHT}" role="img"><title>{escape(meme.alt)}</title>'
        f'<defs><linearGradient id="sky" x2="0" y2="1"><stop stop-color="{light}"/>'
        f'<stop offset="1" stop-color="{dark}"/></linearGradient></defs>'
        f'<path d="M0 0h{WIDTH}v{HEIGHT}H0z" fill="url(#sky)"/>{drawing}'
        f"{_caption(meme.top, 46)}{_caption(meme.bottom, HEIGHT - 22)}</svg>"
    )


def _caption(text: str, y: int) -> str:
    # Long captions shrink to fit the width.
    size = min(34, int(1.72 * (WIDTH - 32) / len(text)))
    return (
        f'<text x="{WIDTH // 2}" y="{y}" text-anchor="middle" font-family="system-ui, sans-serif"'
        f' font-weight="800" font-size="{size}" fill="#fff" stroke="{INK}" stroke-width="6"'
        f' stroke-linejoin="round" paint-order="stroke">{escape(text)}</text>'
    )
