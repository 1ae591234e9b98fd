"""An RTSP camera made of GStreamer's server, run by the system's Python: PORT (0: any), PATTERN of `videotestsrc`."""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURES = "videotestsrc is-live=true pattern={} ! video/x-raw,width=96,height=64,framerate=25/1"
VIDEO = "vp8enc deadline=1 keyframe-max-dist=10 ! rtpvp8pay name=pay0 pt=96"
AUDIO = "audiotestsrc is-live=true ! opusenc ! rtpopuspay name=pay1 pt=97"

Gst.init(None)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(f"( {PICTURES.format(sys.argv[2])} ! {VIDEO} {AUDIO} )")
factory.set_shared(True)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
