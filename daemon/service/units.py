"""The unit files for systemd, and what makes a virtual camera at every start. Texts only."""

from __future__ import annotations

import grp
import sys
from pathlib import Path

from driftcam.engines.api import ParameterError

NAME = "driftcam.service"
GROUPS = ("video", "render")
HIDDEN = ("/home", "/root", "/run/user")  # from a hardened system service

COMMON = """\
Type=notify
NotifyAccess=main
ExecStart={command} serve
ExecReload=/bin/kill -HUP $MAINPID
# Fed by frames that move, and by sessions that have none to move: see daemon/service/pulse.py.
WatchdogSec=30
TimeoutStartSec=90
TimeoutStopSec=30
TimeoutAbortSec=10
Restart=on-failure
RestartSec=2
# The daemon restarts the engine by itself, also when the kernel ended it for want of memory.
OOMPolicy=continue
KillMode=mixed
UMask=0077
"""

USER = """\
[Unit]
Description=Driftcam: live video through diffusion
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
{common}
# A user's service cannot be shut in as tightly as a system service; this is what needs no privilege.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=default.target
"""

SYSTEM = """\
[Unit]
Description=Driftcam: live video through diffusion
After=network.target systemd-modules-load.service
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
{common}
# A user of its own, who may use cameras and GPUs; its folders are /etc, /var/lib and /var/cache/driftcam.
DynamicUser=yes
SupplementaryGroups={groups}
ConfigurationDirectory=driftcam
StateDirectory=driftcam
CacheDirectory=driftcam
RuntimeDirectory=driftcam
Environment=HOME=/var/lib/driftcam XDG_RUNTIME_DIR=/run/driftcam XDG_CACHE_HOME=/var/cache/driftcam
Environment=NUMBA_CACHE_DIR=/var/cache/driftcam/numba

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
PrivateMounts=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

# What is left open, and why.
# PrivateDevices=no: cameras and GPUs are devices; only those listed here can be opened.
DevicePolicy=closed
DeviceAllow=char-video4linux rw
DeviceAllow=char-drm rw
DeviceAllow=char-kfd rw
DeviceAllow=char-nvidia rw
DeviceAllow=char-nvidia-frontend rw
DeviceAllow=char-nvidia-uvm rw
DeviceAllow=/dev/nvidiactl rw
DeviceAllow=/dev/nvidia0 rw
DeviceAllow=/dev/nvidia-uvm rw
DeviceAllow=/dev/nvidia-uvm-tools rw
DeviceAllow=/dev/nvidia-modeset rw
# MemoryDenyWriteExecute=no: kernels are compiled while it runs (Numba, NVRTC, OpenVINO).
MemoryDenyWriteExecute=no
# ProcSubset=all: the number and kind of processors is read from /proc.
ProcSubset=all
# PrivateNetwork=no, no IPAddressDeny=: browsers, streams and WebRTC peers come over the network. The server itself
# listens on loopback unless the configuration says otherwise, and then asks for a token. AF_NETLINK: WebRTC looks up
# the machine's addresses.
# PrivateUsers=no: with it the groups of cameras and GPUs would mean nothing.

[Install]
WantedBy=multi-user.target
"""

CAMERA = {
    Path("/etc/modules-load.d/driftcam.conf"): "v4l2loopback\n",
    Path("/etc/modprobe.d/driftcam.conf"): (
        'options v4l2loopback devices=1 video_nr=10 card_label="Driftcam" exclusive_caps=1 max_buffers=2\n'
    ),
    Path("/etc/udev/rules.d/70-driftcam.rules"): (
        'SUBSYSTEM=="video4linux", ATTR{name}=="Driftcam", GROUP="video", MODE="0660", TAG+="uaccess",'
        ' SYMLINK+="driftcam"\n'
    ),
}


def unit(system: bool) -> str:
    """For this installation."""
    common = COMMON.format(command=quoted(program())).rstrip()
    return (SYSTEM if system else USER).format(common=common, groups=" ".join(_groups()))


def quoted(path: Path) -> str:
    """As a word of a unit file: blanks, quotes and `%`, which systemd reads as the beginning of a specifier."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if any(letter in text for letter in " \t\"'\\;") else text


def _groups() -> list[str]:
    """Those that cameras and GPUs belong to; systemd does not start a service that names one that is not there."""
    there = {group.gr_name for group in grp.getgrall()}
    return [name for name in GROUPS if name in there]


def check_reachable() -> None:
    """Whether a hardened system service could start this installation. Raises `ParameterError`."""
    for path in (program(), Path(sys.executable).resolve()):
        if str(path.resolve()).startswith(HIDDEN):
            advice = "a system service cannot look into homes; install Driftcam elsewhere, for example in /opt/driftcam"
            raise ParameterError("system", str(path), advice)


def program() -> Path:
    """The `driftcam` of this installation."""
    return Path(sys.executable).parent / "driftcam"
