"""The MIDI ports of this machine, through mido and RtMidi: opened by name, and again when they come back."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from driftcam.daemon.errors import RunError
from driftcam.daemon.midi_message import MOST, Control

SEQUENCER = Path("/dev/snd/seq")
Heard = Callable[[str, Any], None]
"""Called with a port's name and a `mido.Message`, in a thread of RtMidi."""


def no_sequencer() -> str:
    """Why this machine can have no ports now, or an empty text."""
    if sys.platform == "linux" and not SEQUENCER.exists():
        return f"MIDI: {SEQUENCER} is not there; load the kernel's sequencer: sudo modprobe snd-seq"
    return ""


def _backend() -> Any:
    """Raises `RunError`."""
    try:
        import mido
        import rtmidi  # noqa: F401 (mido imports it later, and says less)
    except ImportError:
        raise RunError("midi.ports: MIDI needs two more packages: pip install 'driftcam[midi]'") from None
    linux = "/LINUX_ALSA" if sys.platform == "linux" else ""  # else it looks for a JACK server, too
    return mido.Backend(f"mido.backends.rtmidi{linux}", load=True)


class Ports:
    """Those whose names contain one of `wanted`. Every method may block: call it in a thread, one at a time.

    Raises `RunError` where the libraries are missing.
    """

    def __init__(self, wanted: Sequence[str], heard: Heard) -> None:
        self._wanted, self._heard = [name.lower() for name in wanted], heard
        self._backend = _backend()
        self._inputs: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}

    @property
    def open(self) -> list[str]:
        """Names of those that are listened to."""
        return list(self._inputs)

    def there(self) -> list[str]:
        """Names of all that could be listened to. Raises `OSError` or `RunError`."""
        if problem := no_sequencer():
            raise RunError(problem)
        try:
            return list(self._backend.get_input_names())
        except (OSError, RuntimeError, SystemError) as error:  # of RtMidi; its own are subclasses
            raise RunError(f"MIDI: the ports cannot be listed ({error})") from None

    def look(self) -> tuple[set[str], set[str]]:
        """Open what has come and close what has gone; the names of both. Raises `RunError`."""
        inputs = {name for name in self.there() if self._is_wanted(name)}
        outputs = {name for name in self._backend.get_output_names() if self._is_wanted(name)}
        gone = self._inputs.keys() - inputs
        for ports, there in ((self._inputs, inputs), (self._outputs, outputs)):
            for name in list(ports):
                if name not in there:
                    self._close(ports.pop(name))
        come = set()
        for name in outputs - self._outputs.keys():
            with contextlib.suppress(OSError, RuntimeError, SystemError):
                self._outputs[name] = self._backend.open_output(name)
        for name in inputs - self._inputs.keys():
            with contextlib.suppress(OSError, RuntimeError, SystemError):  # another program has it: looked at again
                self._inputs[name] = self._backend.open_input(name, callback=lambda m, name=name: self._heard(name, m))
                come.add(name)
        return come, set(gone)

    def send(self, control: Control, value: int) -> None:
        """To all, in no time; one that has just gone does not hear it. From any thread."""
        message = _message(control, value)
        for port in list(self._outputs.values()):
            with contextlib.suppress(OSError, RuntimeError, SystemError, ValueError):
                port.send(message)

    def close(self) -> None:
        for port in (*self._inputs.values(), *self._outputs.values()):
            self._close(port)
        self._inputs.clear()
        self._outputs.clear()

    def _is_wanted(self, name: str) -> bool:
        return any(wanted in name.lower() for wanted in self._wanted)

    @staticmethod
    def _close(port: Any) -> None:
        with contextlib.suppress(OSError, RuntimeError, SystemError):
            port.close()


def control_of(message: Any) -> tuple[Control, int] | None:
    """A `mido.Message` of a control, and its value; None for what no control sends."""
    match message.type:
        case "control_change":
            return Control("cc", message.control, message.channel + 1), message.value
        case "note_on" | "note_off":
            pressed = message.type == "note_on" and message.velocity
            return Control("note", message.note, message.channel + 1), MOST if pressed else 0
        case "program_change":
            return Control("program", message.program, message.channel + 1), MOST
    return None


def _message(control: Control, value: int) -> Any:
    from mido import Message

    channel = (control.channel or 1) - 1
    if control.kind == "note":
        return Message("note_on", note=control.number, velocity=value, channel=channel)
    return Message("control_change", control=control.number, value=value, channel=channel)
