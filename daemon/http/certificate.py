"""A certificate of our own, made when it is first needed: browsers give the camera only to HTTPS or to localhost."""

from __future__ import annotations

import datetime
import ipaddress
import socket
from collections.abc import Collection
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from driftcam.daemon.addresses import lan_addresses
from driftcam.daemon.files import write_whole
from driftcam.engines.api import ParameterError

VALID = datetime.timedelta(days=800)  # Apple's systems refuse more than 825
RENEW = datetime.timedelta(days=30)  # before the end
DAY = datetime.timedelta(days=1)


def self_signed(folder: Path, names: Collection[str] = ()) -> tuple[Path, Path, str]:
    """Certificate and key in `folder` (0700), made anew where there is none or it ends soon, and its fingerprint.

    `names`: by which this machine is reached, beside its host name and addresses. Raises `ParameterError`.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    try:
        known = x509.load_pem_x509_certificate(certificate.read_bytes()) if key.is_file() else None
    except (OSError, ValueError):
        known = None
    if known is None or known.not_valid_after_utc - datetime.datetime.now(datetime.UTC) < RENEW:
        try:
            known = _make(folder, certificate, key, names)
        except OSError as error:
            raise ParameterError("server.tls", str(folder), f"it cannot be written ({error.strerror})") from None
    digest = known.fingerprint(hashes.SHA256()).hex(":").upper()
    return certificate, key, digest


def _make(folder: Path, certificate: Path, key: Path, names: Collection[str]) -> x509.Certificate:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Driftcam on this machine")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_whole(key, secret)
    write_whole(certificate, made.public_bytes(pem))
    return made


def _names(names: Collection[str]) -> list[x509.GeneralName]:
    known = {"localhost", socket.gethostname(), *names}
    hosts: list[x509.GeneralName] = [x509.DNSName(name) for name in sorted(known) if name.isascii()]
    addresses = ["127.0.0.1", "::1", *lan_addresses()]
    return hosts + [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
