"""FFmpeg's WHIP muxer, inside PyAV, which holds the interpreter while it connects: a process of its own.

ffmpeg_client.py URL FOLDER [TOKEN]: sends grey 60, 320×240 at 30 frames a second, until it is killed.
"""

import datetime
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def make_certificate(folder: Path) -> dict[str, str]:
    """A P-256 key and its certificate, as the muxer's options."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ffmpeg")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, traditional = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    (folder / "key.pem").write_bytes(key.private_bytes(pem, traditional, serialization.NoEncryption()))
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    return {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}


def send(url: str, folder: Path, token: str) -> None:
    options = make_certificate(folder) | ({"authorization": token} if token else {})
    with av.open(url, "w", format="whip", options=options) as container:
        encoding = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "g": "60"}
        stream = container.add_stream("libx264", rate=30, options=encoding)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 320, 240, "yuv420p", Fraction(1, 90_000)
        start, number = time.monotonic(), 0
        while True:
            frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 60, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number * 3000, Fraction(1, 90_000)
            container.mux(stream.encode(frame))
            number += 1
            time.sleep(max(0.0, start + number / 30 - time.monotonic()))


if __name__ == "__main__":
    send(sys.argv[1], Path(sys.argv[2]), (*sys.argv[3:], "")[0])
