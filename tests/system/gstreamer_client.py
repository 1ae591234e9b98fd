"""GStreamer's webrtcbin over WHIP or WHEP. Run by the system's Python, which has GStreamer's bindings.

gstreamer_client.py whip|whep URL [TOKEN]: prints `connected`, then for WHEP the brightness of each picture. Ends when
its standard input is closed.
"""

import sys
import threading
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

ROLE, URL, TOKEN = (*sys.argv[1:], "")[:3]
Gst.init(None)
SENDER = (
    "videotestsrc is-live=true pattern=white ! video/x-raw,width=320,height=240,framerate=30/1 ! videoconvert ! "
    "vp8enc deadline=1 keyframe-max-dist=60 ! rtpvp8pay pt=96 ! "
    "application/x-rtp,media=video,encoding-name=VP8,payload=96 ! webrtcbin name=peer bundle-policy=max-bundle"
)
VP8 = "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000"


def say(*words: object) -> None:
    print(*words, flush=True)


def post(offer: str) -> str:
    headers = {"Content-Type": "application/sdp", **({"Authorization": f"Bearer {TOKEN}"} if TOKEN else {})}
    request = urllib.request.Request(URL, offer.encode(), headers)
    with urllib.request.urlopen(request, timeout=15) as response:
        return response.read().decode()


def with_all_candidates(peer: Gst.Element, *_: object) -> None:
    if peer.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE:
        return
    answer = post(peer.get_property("local-description").sdp.as_text())
    _, message = GstSdp.SDPMessage.new_from_text(answer)
    description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
    peer.emit("set-remote-description", description, Gst.Promise.new())


def on_offer(promise: Gst.Promise, peer: Gst.Element) -> None:
    promise.wait()
    reply = promise.get_reply()  # owns the offer
    offer = reply.get_value("offer")
    peer.emit("set-local-description", offer, Gst.Promise.new())


def on_negotiation(peer: Gst.Element) -> None:
    if ROLE == "whep":
        peer.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(VP8))
    peer.emit("create-offer", None, Gst.Promise.new_with_change_func(on_offer, peer))


def on_picture(sink: Gst.Element) -> Gst.FlowReturn:
    buffer = sink.emit("pull-sample").get_buffer()
    _, data = buffer.map(Gst.MapFlags.READ)
    say("brightness", data.data[len(data.data) // 3])
    buffer.unmap(data)
    return Gst.FlowReturn.OK


def on_pad(peer: Gst.Element, pad: Gst.Pad) -> None:
    decoder = Gst.parse_bin_from_description(
        "rtpvp8depay ! vp8dec ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=sink emit-signals=true"
        " max-buffers=1 drop=true sync=false",
        True,
    )
    decoder.get_by_name("sink").connect("new-sample", on_picture)
    pipeline.add(decoder)
    decoder.sync_state_with_parent()
    pad.link(decoder.get_static_pad("sink"))


def on_state(peer: Gst.Element, *_: object) -> None:
    if peer.get_property("connection-state") == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
        say("connected")


pipeline = Gst.parse_launch(SENDER) if ROLE == "whip" else Gst.Pipeline.new()
if ROLE == "whep":
    viewer = Gst.ElementFactory.make("webrtcbin", "peer")
    viewer.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
    pipeline.add(viewer)
peer = pipeline.get_by_name("peer")
peer.connect("notify::ice-gathering-state", with_all_candidates)
peer.connect("notify::connection-state", on_state)
peer.connect("pad-added", on_pad)
loop = GLib.MainLoop()
if ROLE == "whip":
    peer.connect("on-negotiation-needed", on_negotiation)
pipeline.set_state(Gst.State.PLAYING)
if ROLE == "whep":
    on_negotiation(peer)
threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
loop.run()
pipeline.set_state(Gst.State.NULL)
