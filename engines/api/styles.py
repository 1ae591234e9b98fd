"""The named styles of the embedded model, and how text becomes a blend of them."""

from __future__ import annotations

import contextlib
import difflib
import re

from driftcam.engines.api.errors import ParameterError

# Name and the words that describe it, in the order of the model's style input.
STYLES: tuple[tuple[str, str], ...] = (
    ("fresco", "warm sand ochre pale blue plaster mural soft cubist sunlight desert"),
    ("leadlight", "black lines outline yellow white comic bold ink leaded bauhaus"),
    ("charcoal-wash", "charcoal grey pale wash winter fog quiet drawing"),
    ("neon-shards", "neon electric blue orange black abstract shards glass cyber night"),
    ("terracotta", "terracotta red clay canvas warm crosshatch earth"),
    ("autumn-oil", "autumn oil painting orange crimson strokes impasto leaves fall"),
    ("indigo-dots", "indigo violet dots polka spots night pattern textile"),
    ("primary", "primary colours red yellow blue bold expressionist fauvist bright"),
    ("coloured-pencil", "pencil crayon sketch coloured colored drawing white paper magenta child"),
    ("confetti", "confetti pebble mosaic dots speckle red grey teal pointillism tiles"),
    ("sanguine", "sanguine brown sepia brick chalk old master rust"),
    ("woodcut", "woodcut engraving print ornament gold tan old book linocut"),
    ("morning-mist", "watercolour watercolor mist pastel lilac impressionist monet soft dawn"),
    ("meadow", "green lime meadow spring expressionist scream grass wild"),
    ("seafoam", "seafoam pale cyan ice etching sea light calm porcelain"),
    ("stained-glass", "stained glass church window colourful mosaic lines white pastel cells"),
    ("cobalt-swirl", "cobalt blue swirl wind orange strokes storm sky"),
    ("weave", "weave basket woven bricks red orange grid pattern tapestry"),
    ("parchment", "parchment sepia waves paper map papyrus beige antique"),
    ("starry-night", "starry night van gogh blue yellow stars swirling post-impressionist"),
    ("inferno", "inferno fire red dark lava hell rage flame"),
    ("cutout", "cutout matisse pink black paper collage pop art modern"),
    ("expressionist", "expressionist purple grey red ink brush kirchner german mood"),
    ("dusk", "dusk dark soft twilight turner evening gloomy romantic"),
    ("great-wave", "great wave hokusai japanese print ukiyo-e teal cream ocean"),
    ("bronze-mosaic", "bronze brown blue mosaic cubist braque dense texture picasso"),
)
STYLE_NAMES: tuple[str, ...] = tuple(name for name, _ in STYLES)


def parse_styles(text: str) -> tuple[tuple[str, float], ...]:
    """`NAME[:WEIGHT],NAME[:WEIGHT]` to pairs. Raises `ParameterError` on a bad weight or an empty text.

    Unknown names are left for `Parameters` to refuse, which suggests the nearest.
    """
    pairs = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, weight = part.partition(":")
        try:
            pairs.append((name.strip(), float(weight) if weight else 1.0))
        except ValueError:
            raise ParameterError("style", part, "write NAME or NAME:WEIGHT with a number") from None
    if not pairs:
        raise ParameterError("style", text, f"write NAME[:WEIGHT][,NAME…]; names: {', '.join(STYLE_NAMES)}")
    return tuple(pairs)


def match_text(text: str, limit: int = 3) -> tuple[tuple[str, float], ...]:
    """Free text to a blend of at most `limit` named styles.

    Each word of the text scores 3 against a style's name, 1 against its description, and
    0.6 where it only resembles one of those words (difflib ratio ≥ 0.8). The best styles
    are taken, weighted by score; those under half the best score are dropped.
    Raises `ParameterError` when no word matches.
    """
    words = [w for w in re.findall(r"[a-z]+", text.lower()) if len(w) > 2]
    scores = {name: sum(_score(word, name, about) for word in words) for name, about in STYLES}
    best = max(scores.values())
    if best == 0:
        raise ParameterError("prompt", text, f"no word fits a style; names: {', '.join(STYLE_NAMES)}")
    ranked = sorted((n for n in scores if scores[n] >= best / 2), key=lambda n: -scores[n])[:limit]
    return tuple((name, scores[name]) for name in ranked)


def from_prompt(text: str) -> dict[str, object]:
    """The parameters that a prompt comes down to: the text itself, and the styles that its words name, if any do.

    Which of them leads is the model's own affair, and so is a prompt without such a word.
    """
    values: dict[str, object] = {"prompts": ((text, 1.0),)}
    with contextlib.suppress(ParameterError):
        values["styles"] = match_text(text)
    return values


def _score(word: str, name: str, about: str) -> float:
    in_name, in_text = name.split("-"), re.split(r"[ -]", about)
    if word in in_name:
        return 3.0
    if word in in_text:
        return 1.0
    return 0.6 if difflib.get_close_matches(word, in_name + in_text, n=1, cutoff=0.8) else 0.0
