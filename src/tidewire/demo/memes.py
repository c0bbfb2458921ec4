"""Memes, drawn by us: each an SVG of a few shapes with a caption, served as a file of its own.

Only presentation attributes are used: a `style` attribute or element would break the content security policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 480, 360
INK = "#0b2a33"


@dataclass(frozen=True, slots=True)
class Meme:
    name: str
    top: str
    bottom: str
    picture: str  # what the drawing shows, in words
    sky: tuple[str, str]
    drawing: str

    @property
    def alt(self) -> str:
        return f"{self.picture} Caption: “{self.top} / {self.bottom}”"


DUCK = """
<path d="M0 262q40-22 80 0t80 0 80 0 80 0 80 0 80 0v98H0z" fill="#2b8fa3"/>
<path d="M132 214c0 58 46 84 108 84 70 0 122-34 122-98 0-20-20-22-34-8-22 20-50 22-66 6 6-10 10-22 10-36
 0-44-32-70-70-70-42 0-72 30-72 70 0 16 2 36 2 52z" fill="#ffd23f"/>
<path d="M196 232c26 34 92 34 112-6-2 44-30 58-58 56-28 0-52-18-54-50z" fill="#f2b705"/>
<path d="M134 150c-30-6-52 2-58 12 10 14 36 22 62 14z" fill="#f4772e"/>
<circle cx="176" cy="142" r="10" fill="#0b2a33"/><circle cx="179" cy="138" r="3" fill="#fff"/>
<path d="M0 286q40-18 80 0t80 0 80 0 80 0 80 0 80 0v74H0z" fill="#1c7488"/>
"""

SNAIL = """
<path d="M0 290h480v70H0z" fill="#6f9d4f"/>
<path d="M0 290q60-16 120-2t120 0 120-2 120 4v12H0z" fill="#84b560"/>
<path d="M84 292c10-22 40-30 70-30h170c26 0 34-16 36-44l2-40c2-24 46-24 46 6v48c0 40-28 60-70 60z" fill="#e9c59b"/>
<path d="M372 168l-10-42M396 166l12-42" stroke="#e9c59b" stroke-width="9" stroke-linecap="round"/>
<circle cx="361" cy="120" r="11" fill="#fff"/><circle cx="409" cy="118" r="11" fill="#fff"/>
<circle cx="364" cy="121" r="5" fill="#0b2a33"/><circle cx="412" cy="119" r="5" fill="#0b2a33"/>
<path d="M392 206q10 8 16-2" stroke="#0b2a33" stroke-width="4" fill="none" stroke-linecap="round"/>
<circle cx="222" cy="196" r="88" fill="#b4573a"/>
<path d="M222 196m0-8a14 14 0 1 1-16 20 34 34 0 1 1 54-6 56 56 0 1 1-98-6 76 76 0 0 1 116-56"
 fill="none" stroke="#7d3522" stroke-width="11" stroke-linecap="round"/>
<path d="M44 250h30M30 270h36M52 230h20" stroke="#fff" stroke-opacity=".55" stroke-width="5" stroke-linecap="round"/>
"""

LIGHTHOUSE = """
<circle cx="72" cy="96" r="3" fill="#fff"/><circle cx="132" cy="148" r="2" fill="#fff"/>
<circle cx="410" cy="102" r="3" fill="#fff"/><circle cx="368" cy="184" r="2" fill="#fff"/>
<circle cx="60" cy="206" r="2" fill="#fff"/><circle cx="436" cy="216" r="2.500" fill="#fff"/>
<path d="M240 136L0 84v106z" fill="#ffe38a" fill-opacity=".55"/>
<path d="M240 136l240-52v106z" fill="#ffe38a" fill-opacity=".55"/>
<path d="M212 160h56l18 140h-92z" fill="#f3f0e7"/>
<path d="M208 190h64l5 36h-74zM199 262h82l5 38h-92z" fill="#d6483b"/>
<path d="M204 150h72v14h-72z" fill="#0b2a33"/>
<path d="M218 116h44v36h-44z" fill="#ffe38a"/><path d="M210 118l30-30 30 30z" fill="#d6483b"/>
<path d="M150 306c20-24 160-24 182 0z" fill="#24383f"/>
<path d="M0 304q30-14 60 0t60 0 60 0 60 0 60 0 60 0 60 0 60 0v56H0z" fill="#10505f"/>
"""

KEYBOARD = """
<path d="M0 268h480v92H0z" fill="#8a6a52"/><path d="M0 268h480v10H0z" fill="#a5826a"/>
<path d="M96 96h288a10 10 0 0 1 10 10v152H86V106a10 10 0 0 1 10-10z" fill="#17323b"/>
<path d="M100 108h280v138H100z" fill="#0e7886"/>
<path d="M116 128h70M116 146h110M116 164h48M116 182h92M116 200h30" stroke="#9fe3e6" stroke-width="6"
 stroke-linecap="round"/>
<path d="M60 258h360l26 36H34z" fill="#30505a"/>
<path d="M76 266h328l4 6H70zM66 278h346l5 7H60z" fill="#56808c"/>
<path d="M170 284c-10-70 20-118 78-118 62 0 96 46 92 118z" fill="#f29b38"/>
<path d="M336 262c44 6 66-20 60-62-2-14-20-12-18 2 4 26-10 38-44 34z" fill="#f29b38"/>
<path d="M170 176c-8-34-8-58 0-72 18 6 32 16 42 30h40c10-14 24-24 42-30 8 14 8 38 0 72 2 36-24 58-62 58s-64-22-62-58z"
 fill="#f7b25c"/>
<path d="M178 120c10 4 18 10 24 18l-20 14zM286 120c-10 4-18 10-24 18l20 14z" fill="#f4d3b3"/>
<path d="M194 172q12-12 24 0M246 172q12-12 24 0" stroke="#0b2a33" stroke-width="5" fill="none" stroke-linecap="round"/>
<path d="M226 190h12l-6 8z" fill="#c8563e"/>
<path d="M232 198q-8 12-18 4M232 198q8 12 18 4" stroke="#0b2a33" stroke-width="4" fill="none" stroke-linecap="round"/>
<path d="M180 190l-44-8M180 200l-44 4M284 190l44-8M284 200l44 4" stroke="#fff" stroke-width="3" stroke-linecap="round"/>
<path d="M186 284c-2-22 8-32 22-32s24 10 22 32zM252 284c-2-22 8-32 22-32s24 10 22 32z" fill="#f7b25c"/>
"""

OCTOPUS = """
<path d="M0 300q40-16 80 0t80 0 80 0 80 0 80 0 80 0v60H0z" fill="#0e5a6b"/>
<g fill="none" stroke="#c8497a" stroke-width="24" stroke-linecap="round">
<path d="M190 230c-60 10-90-10-104-70"/><path d="M200 244c-50 40-100 30-130-10"/>
<path d="M214 250c-20 50-60 50-96 40"/><path d="M266 250c20 50 60 50 96 40"/>
<path d="M280 244c50 40 100 30 130-10"/><path d="M290 230c60 10 90-10 104-70"/></g>
<path d="M160 200c-10-70 30-118 80-118s90 48 80 118c-6 44-32 66-80 66s-74-22-80-66z" fill="#e05a8e"/>
<circle cx="212" cy="186" r="20" fill="#fff"/><circle cx="268" cy="186" r="20" fill="#fff"/>
<circle cx="216" cy="190" r="9" fill="#0b2a33"/><circle cx="264" cy="190" r="9" fill="#0b2a33"/>
<path d="M224 230q16-12 32 0" stroke="#0b2a33" stroke-width="5" fill="none" stroke-linecap="round"/>
<g fill="#ffe9b0" stroke="#0b2a33" stroke-width="3">
<path d="M60 132h52v34H60zM38 212h52v34H38zM92 272h52v34H92zM336 272h52v34h-52zM390 212h52v34h-52zM368 132h52v34h-52z"/></g>
<g stroke="#0b2a33" stroke-width="3"><path d="M60 142h52M38 222h52M92 282h52M336 282h52M390 222h52M368 142h52"/></g>
"""

GOLDFISH = """
<path d="M0 300h480v60H0z" fill="#b98b62"/><path d="M0 300h480v8H0z" fill="#d3a67c"/>
<path d="M150 100h180c0 14-10 18-6 28 44 30 60 66 46 110-10 34-34 66-60 66H170c-26 0-50-32-60-66-14-44 2-80 46-110
 4-10-6-14-6-28z" fill="#e9fbff" fill-opacity=".75"/>
<path d="M112 190q32-12 64 0t64 0 64 0 64 0c4 18 4 34-2 48-10 34-34 62-60 62H174c-26 0-50-28-60-62-6-14-6-30-2-48z"
 fill="#5cc2d6"/>
<path d="M176 244c20-34 84-40 118-6 14-16 30-22 42-22-8 18-8 38 2 56-14 0-30-8-44-22-34 34-98 28-118-6z" fill="#ff8a3c"/>
<path d="M226 220c8-22 36-22 46-2z" fill="#f26b1d"/>
<circle cx="208" cy="236" r="11" fill="#fff"/><circle cx="205" cy="236" r="5" fill="#0b2a33"/>
<circle cx="166" cy="222" r="5" fill="#fff" fill-opacity=".8"/><circle cx="156" cy="204" r="7" fill="#fff" fill-opacity=".8"/>
<path d="M140 150c-14 16-20 30-20 46" stroke="#fff" stroke-width="7" fill="none" stroke-linecap="round"/>
<path d="M300 118c24-6 40-22 44-44M352 60a12 12 0 1 1 0-.1" stroke="#fff" stroke-width="0" fill="none"/>
"""

GHOST = """
<path d="M0 296h480v64H0z" fill="#23203f"/>
<circle cx="392" cy="108" r="36" fill="#f3e9c6"/><circle cx="378" cy="100" r="36" fill="#4a4380"/>
<path d="M156 300V184c0-54 36-92 84-92s84 38 84 92v116q-14-22-28 0-14-22-28 0-14-22-28 0-14-22-28 0-14-22-28 0-14-22-28 0z"
 fill="#f6f7fb"/>
<path d="M296 300q14-22 28 0V184c0-50-30-84-72-90 22 14 44 44 44 90z" fill="#dcdff0"/>
<ellipse cx="214" cy="178" rx="11" ry="16" fill="#0b2a33"/><ellipse cx="262" cy="178" rx="11" ry="16" fill="#0b2a33"/>
<ellipse cx="238" cy="216" rx="13" ry="10" fill="#0b2a33"/>
<path d="M0 262h112c10 0 10 12 20 12M480 262H368c-10 0-10 12-20 12" stroke="#8fd6dc" stroke-width="8" fill="none"
 stroke-linecap="round"/>
<path d="M142 254l-10 40M338 254l10 40" stroke="#8fd6dc" stroke-width="5" stroke-linecap="round" stroke-dasharray="2 12"/>
"""

TEAPOT = """
<path d="M0 284h480v76H0z" fill="#7b5143"/><path d="M0 284h480v9H0z" fill="#98695a"/>
<path d="M180 108q-14-18 0-34M224 104q-14-18 0-34M268 108q-14-18 0-34" stroke="#fff" stroke-opacity=".7" stroke-width="7"
 fill="none" stroke-linecap="round"/>
<path d="M326 186c60-16 84 60 12 72" stroke="#2b6f77" stroke-width="18" fill="none" stroke-linecap="round"/>
<path d="M136 214c-36-2-36-52-72-58 26 50 20 82 84 94z" fill="#2b6f77"/>
<path d="M130 208c0-50 44-78 100-78s106 28 106 78c0 54-40 82-104 82s-102-28-102-82z" fill="#3d98a1"/>
<path d="M166 142c14-20 116-20 132 0 0 12-132 12-132 0z" fill="#2b6f77"/><circle cx="232" cy="122" r="12" fill="#2b6f77"/>
<path d="M190 204q12-12 24 0M252 204q12-12 24 0" stroke="#0b2a33" stroke-width="6" fill="none" stroke-linecap="round"/>
<path d="M206 234q26 22 52 0" stroke="#0b2a33" stroke-width="6" fill="none" stroke-linecap="round"/>
<circle cx="178" cy="226" r="10" fill="#f2a6a0" fill-opacity=".7"/><circle cx="288" cy="226" r="10" fill="#f2a6a0" fill-opacity=".7"/>
"""

BOTTLE = """
<circle cx="386" cy="112" r="34" fill="#ffe2a0"/>
<path d="M0 232q40-20 80 0t80 0 80 0 80 0 80 0 80 0v128H0z" fill="#3aa6b9"/>
<g transform="rotate(-18 240 214)"><path d="M120 176h176c20 0 26 16 46 18h48v42h-48c-20 2-26 18-46 18H120
 c-20 0-30-16-30-39s10-39 30-39z" fill="#d8f5ea" fill-opacity=".85" stroke="#0b2a33" stroke-opacity=".35" stroke-width="3"/>
<path d="M390 196h26v38h-26z" fill="#b9814f"/>
<path d="M144 192h104c10 0 10 46 0 46H144c-10 0-10-46 0-46z" fill="#fff6dc"/>
<path d="M160 206h70M160 216h56M160 226h64" stroke="#a98f5f" stroke-width="4" stroke-linecap="round"/>
<path d="M116 186h150" stroke="#fff" stroke-width="6" stroke-linecap="round" stroke-opacity=".9"/></g>
<path d="M0 262q40-22 80 0t80 0 80 0 80 0 80 0 80 0v98H0z" fill="#2389a0"/>
<path d="M0 300q40-18 80 0t80 0 80 0 80 0 80 0 80 0v60H0z" fill="#176f85"/>
"""

SURFER = """
<circle cx="96" cy="112" r="38" fill="#ffe08a"/>
<path d="M0 330c120 10 210-18 262-92 34-50 92-88 158-66 22 8 40 22 48 40-46-22-84-6-84 28 0 44 50 62 96 62v58H0z"
 fill="#1f9db0"/>
<path d="M0 330c120 10 210-18 262-92 34-50 92-88 158-66-70-6-112 38-136 84-42 76-150 100-284 92z" fill="#7fdbe2"/>
<path d="M106 300c60 0 126-22 170-70 10-10 20 0 10 12-46 56-112 82-180 76-14-2-14-18 0-18z" fill="#f4772e"/>
<path d="M172 282c-6-40 6-66 32-70 28-4 46 18 46 48-22 14-48 22-78 22z" fill="#58646e"/>
<path d="M170 198c-10-26-10-44-4-56 14 4 24 10 32 20h26c8-10 18-18 32-22 6 14 6 32-2 56-2 26-20 40-42 40s-40-14-42-38z"
 fill="#727f8a"/>
<path d="M178 188h32l-4 16h-22zM216 188h32l-6 16h-22zM208 190h10" fill="#0b2a33" stroke="#0b2a33" stroke-width="4"/>
<path d="M208 212h10l-5 6z" fill="#f2a6a0"/><path d="M202 224q11 8 22 0" stroke="#0b2a33" stroke-width="4" fill="none"
 stroke-linecap="round"/>
<path d="M248 248c30-6 42-26 38-50" stroke="#727f8a" stroke-width="14" fill="none" stroke-linecap="round"/>
<path d="M176 254c-24-2-42-14-52-34" stroke="#727f8a" stroke-width="14" fill="none" stroke-linecap="round"/>
"""

BOX = """
<path d="M0 296h480v64H0z" fill="#5a6a82"/><path d="M0 296h480v8H0z" fill="#75869f"/>
<path d="M176 176c-10-32-10-54-2-68 18 6 32 16 42 30h48c10-14 24-24 42-30 8 14 8 36-2 68v50H176z" fill="#3a3f4b"/>
<circle cx="212" cy="178" r="17" fill="#d9f27c"/><circle cx="268" cy="178" r="17" fill="#d9f27c"/>
<ellipse cx="212" cy="178" rx="4" ry="14" fill="#0b2a33"/><ellipse cx="268" cy="178" rx="4" ry="14" fill="#0b2a33"/>
<path d="M234 198h12l-6 8z" fill="#f2a6a0"/>
<path d="M120 210h240v94H120z" fill="#c99a64"/><path d="M120 210h240v14H120z" fill="#b28450"/>
<path d="M120 210l-52 30 10 22 42-24zM360 210l52 30-10 22-42-24z" fill="#dbb27e"/>
<path d="M226 236h28v26h-28z" fill="#e9d3a8"/>
<path d="M150 268h60M150 280h40" stroke="#8a6336" stroke-width="5" stroke-linecap="round"/>
<path d="M196 214c-2-14 4-22 14-22s16 8 14 22zM256 214c-2-14 4-22 14-22s16 8 14 22z" fill="#4a505e"/>
"""

MOON = """
<circle cx="92" cy="104" r="2.500" fill="#fff"/><circle cx="150" cy="84" r="2" fill="#fff"/>
<circle cx="60" cy="176" r="2" fill="#fff"/><circle cx="430" cy="164" r="2.500" fill="#fff"/>
<circle cx="398" cy="92" r="2" fill="#fff"/><circle cx="110" cy="228" r="2" fill="#fff"/>
<mask id="night"><path d="M0 0h480v360H0z" fill="#fff"/><circle cx="272" cy="156" r="92"/></mask>
<circle cx="228" cy="194" r="112" fill="#f7e3a1" mask="url(#night)"/>
<g transform="translate(-14 -4)">
<path d="M208 262c-6-40 26-62 66-60 40 0 70 20 74 50 2 18-10 26-28 26H226c-10 0-16-6-18-16z" fill="#8b94a6"/>
<path d="M200 250c-10-18-8-42 2-58 10 4 18 10 24 18h22c6-8 14-14 24-18 10 16 12 40 2 58-8 16-66 16-74 0z" fill="#a3acbd"/>
<path d="M208 236q10 8 18 0M244 236q10 8 18 0" stroke="#0b2a33" stroke-width="4" fill="none" stroke-linecap="round"/>
<path d="M230 246h10l-5 6z" fill="#e39a94"/>
<path d="M344 258c26 0 30 18 14 26-20 8-60 6-84-2" stroke="#a3acbd" stroke-width="14" fill="none" stroke-linecap="round"/></g>
<g fill="none" stroke="#fff" stroke-width="5" stroke-linejoin="round" stroke-linecap="round">
<path d="M300 170h18l-18 20h18M336 134h14l-14 16h14M364 108h10l-10 12h10"/></g>
"""

MEMES = (
    Meme(
        "duck",
        "explained the bug to the duck",
        "the duck had known since Tuesday",
        "A rubber duck afloat.",
        ("#bfe9ee", "#7fcbd8"),
        DUCK,
    ),
    Meme(
        "snail",
        "polling every thirty seconds",
        "practically live",
        "A snail with speed lines behind it.",
        ("#cdeaf7", "#e7f5dd"),
        SNAIL,
    ),
    Meme(
        "lighthouse",
        "nothing to report",
        "still sending a comment every 15 s",
        "A lighthouse at night, its beam on both sides.",
        ("#0c1f3f", "#27587a"),
        LIGHTHOUSE,
    ),
    Meme(
        "keyboard",
        "who deployed on a Friday?",
        "asking for a cat",
        "An orange cat asleep on the keyboard of a laptop.",
        ("#f6e7d2", "#eccfae"),
        KEYBOARD,
    ),
    Meme(
        "octopus",
        "HTTP/1.1: six connections",
        "tab seven waits",
        "A worried octopus, a browser window in each of its six arms.",
        ("#134c63", "#1d7f92"),
        OCTOPUS,
    ),
    Meme(
        "goldfish",
        "last event id?",
        "we have met before?",
        "A goldfish in its bowl.",
        ("#f7d9c4", "#f2b8a2"),
        GOLDFISH,
    ),
    Meme(
        "ghost",
        "the connection is open",
        "the other end is not",
        "A ghost between the two ends of a torn cable.",
        ("#37325f", "#5a5296"),
        GHOST,
    ),
    Meme(
        "teapot",
        "418",
        "and proud of it",
        "A teapot that smiles, steam above it.",
        ("#f4e3c8", "#e4b98f"),
        TEAPOT,
    ),
    Meme(
        "bottle",
        "message in a bottle",
        "at most once delivery",
        "A bottle with a letter in it, adrift at sea.",
        ("#f9cfa5", "#f4a987"),
        BOTTLE,
    ),
    Meme(
        "surfer",
        "one event, a thousand subscribers",
        "encoded once",
        "A grey cat in sunglasses, surfing a big wave.",
        ("#ffe9c9", "#bfeaf0"),
        SURFER,
    ),
    Meme(
        "box",
        "open or closed?",
        "nobody has read the socket yet",
        "A black cat looking out of a cardboard box.",
        ("#c9d5e8", "#9fb2cf"),
        BOX,
    ),
    Meme("moon", "quiet topic", "sweet dreams", "A cat asleep on the moon.", ("#141b3c", "#3b3f78"), MOON),
)


def svg(meme: Meme) -> str:
    """Return the picture as an SVG document."""
    light, dark = meme.sky
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' role="img"><title>{escape(meme.alt)}</title><defs><linearGradient id="sky" x2="0" y2="1">'
        f'<stop stop-color="{light}"/><stop offset="1" stop-color="{dark}"/></linearGradient></defs>'
        f'<path d="M0 0h{WIDTH}v{HEIGHT}H0z" fill="url(#sky)"/>{meme.drawing.strip()}'
        f"{_caption(meme.top, 46)}{_caption(meme.bottom, HEIGHT - 22)}</svg>"
    )


def _caption(text: str, y: int) -> str:
    # Long captions shrink to the width instead of running out of the picture.
    size = min(34, int(1.72 * (WIDTH - 32) / max(len(text), 1)))
    return (
        f'<text x="{WIDTH // 2}" y="{y}" text-anchor="middle" font-family="system-ui, sans-serif" font-weight="800"'
        f' font-size="{size}" fill="#fff" stroke="{INK}" stroke-width="6" stroke-linejoin="round"'
        f' paint-order="stroke">{escape(text)}</text>'
    )
