"""What NVIDIA's driver says about this machine's cards, asked without any framework."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

# What TensorRT for RTX 1.x with CUDA 13 asks for.
LEAST_DRIVER = (13, 0)
LEAST_COMPUTE = (7, 5)
_COMPUTE_MAJOR, _COMPUTE_MINOR = 75, 76  # of CUdevice_attribute
_NO_DEVICE = 100


@dataclass(frozen=True)
class Card:
    """A graphics card.

    Attributes:
        name: as the driver calls it.
        compute: (major, minor) of its compute capability.
        memory: bytes.
    """

    name: str
    compute: tuple[int, int]
    memory: int

    @property
    def target(self) -> str:
        """The generation an engine is built for."""
        return f"sm{self.compute[0]}{self.compute[1]}"


@dataclass(frozen=True)
class DriverFacts:
    """What the driver offers.

    Attributes:
        cuda: highest CUDA version that the driver runs, (0, 0) without a driver.
        cards: in the driver's order.
        problem: why no card can be used, in one line, or empty.
    """

    cuda: tuple[int, int]
    cards: tuple[Card, ...]
    problem: str


def ask_driver(library: ctypes.CDLL | None = None) -> DriverFacts:
    """The driver's answers; `library` stands for libcuda in tests."""
    try:
        cuda = library or ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return DriverFacts((0, 0), (), "no NVIDIA driver is installed")
    status = cuda.cuInit(0)
    version = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    newest = (version.value // 1000, version.value % 1000 // 10)
    if status:
        why = "no NVIDIA GPU was found" if status == _NO_DEVICE else f"the driver does not start (error {status})"
        return DriverFacts(newest, (), why)
    cards = tuple(_card(cuda, index) for index in range(_count(cuda)))
    return DriverFacts(newest, cards, problem_of(newest, cards))


def problem_of(cuda: tuple[int, int], cards: tuple[Card, ...]) -> str:
    """Why none of the cards can be used, or empty."""
    if not cards:
        return "no NVIDIA GPU was found"
    if cuda < LEAST_DRIVER:
        return (
            f"the driver runs CUDA {cuda[0]}.{cuda[1]} and {LEAST_DRIVER[0]}.{LEAST_DRIVER[1]} is needed; "
            "update it to 580 or later"
        )
    if all(card.compute < LEAST_COMPUTE for card in cards):
        return f"{cards[0].name} is of generation {cards[0].target}; sm75 (Turing, RTX 20) or later is needed"
    return ""


def _count(cuda: ctypes.CDLL) -> int:
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    return count.value


def _card(cuda: ctypes.CDLL, index: int) -> Card:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(128), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_MINOR, device)
    return Card(name.value.decode(errors="replace"), (major.value, minor.value), memory.value)
