"""Characters of many alphabets drawn from the fonts that Matplotlib ships: nothing to download, for trials and tests.

A class is a character; a drawer is a font face, upright or at one of two fixed slants. Latin, Greek, Cyrillic,
Armenian, Georgian, Lao and the digits: about 770 characters with 24 to 48 drawings each. Easier than Omniglot, whose
drawers are people, and no substitute for it: numbers measured here compare only with each other.
"""

import pathlib
import random
import unicodedata

import matplotlib
import numpy as np
import tqdm
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont, features

from data_generators.cache import cached
from data_generators.errors import UserError
from data_generators.image_classes import stack_classes

# The families whose character tables are Unicode throughout; the cm* fonts put TeX's symbols at the codes of letters.
FACES = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "STIXGeneral*.ttf")
SLANTS = ((0, 0.0), (9, 0.2), (-9, -0.2))  # rotation in degrees, horizontal shear
MIN_DRAWINGS = 20  # as many as Omniglot's
VERSION = 1

SIDE = 28  # pixels, as Omniglot's
FINE = 4  # drawn this much larger, then averaged down
EM = 22 * FINE  # font size: a capital is about 16 of the 28 pixels high
INK = 24 * FINE  # wider or higher characters are scaled down to this


def load(cache_dir=None):
    """{"train", "val", "test"}: ImageClasses of uint8 [T, 28, 28, 1], strokes 255; classes are named as in Unicode.

    70, 10 and 20 % of the sorted names after `random.Random(0).shuffle(names)`. cache_dir: see `cached`. The same
    Matplotlib, Pillow and FreeType always give the same images. Raises UserError if Matplotlib came without its fonts.
    """
    files = _faces()
    drawn_by = (matplotlib.__version__, Image.__version__, features.version("freetype2"), unicodedata.unidata_version)
    key = (VERSION, drawn_by, [(file.name, file.stat().st_size) for file in files])
    classes = cached("glyphs", key, cache_dir, lambda _: _draw_all(files))
    names = sorted(classes.names)
    random.Random(0).shuffle(names)
    train, val = round(0.7 * len(names)), round(0.8 * len(names))
    parts = {"train": names[:train], "val": names[train:val], "test": names[val:]}
    return {split: classes.select(chosen) for split, chosen in parts.items()}


def _faces():
    folder = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf")
    files = [file for pattern in FACES for file in sorted(folder.glob(pattern)) if "Display" not in file.name]
    if len(files) < 8:
        raise UserError(
            f"{folder} holds {len(files)} DejaVu and STIX font faces; expected the 16 that Matplotlib ships"
        )
    return files


def _draw_all(files):
    """Every character with enough drawings, in code order; one that looks like an earlier one in any face is left out.

    So Latin A stays, and Greek Alpha and Cyrillic A, the same drawing, do not become classes of their own.
    """
    fonts = [ImageFont.truetype(str(file), EM, layout_engine=ImageFont.Layout.BASIC) for file in files]
    tables = [FT2Font(str(file)).get_charmap() for file in files]
    images, names, seen = [], [], set()
    codes = sorted(set().union(*tables))
    for code in tqdm.tqdm(codes, "glyphs", unit="character", leave=False, disable=None):
        holders = [font for font, table in zip(fonts, tables) if code in table]
        if not _is_plain_letter(chr(code)) or len(holders) * len(SLANTS) < MIN_DRAWINGS:
            continue
        drawings = {image.tobytes(): image for font in holders for image in _draw(chr(code), font)}
        if len(drawings) >= MIN_DRAWINGS and seen.isdisjoint(drawings):
            images.append(np.stack(list(drawings.values())))
            names.append(unicodedata.name(chr(code)))
        seen.update(drawings)
    return stack_classes(images, names)


def _is_plain_letter(character):
    """A letter or digit with no accent: accents are a pixel or two at this size."""
    return (
        unicodedata.category(character) in ("Lu", "Ll", "Lo", "Nd")
        and unicodedata.normalize("NFKD", character) == character
    )


def _draw(character, font):
    """One uint8 [28, 28, 1] a slant, the ink centred; none for a character without ink."""
    sheet = Image.new("L", (4 * EM, 4 * EM))
    ImageDraw.Draw(sheet).text((EM, EM), character, fill=255, font=font)
    ink = sheet.getbbox()
    if not ink:
        return
    sheet = sheet.crop(ink)
    size = np.array(sheet.size)
    scale = max(1.0, size.max() / INK)
    for degrees, shear in SLANTS:
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        back = scale * np.array([[1, shear], [0, 1]]) @ np.array([[cos, -sin], [sin, cos]])  # image → sheet
        offset = size / 2 - back @ np.array([SIDE, SIDE]) * FINE / 2
        affine = (*back[0], offset[0], *back[1], offset[1])
        large = sheet.transform((SIDE * FINE, SIDE * FINE), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
        yield np.asarray(large.reduce(FINE))[..., None]
