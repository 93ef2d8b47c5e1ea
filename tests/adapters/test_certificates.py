"""Certificates: what they say, how their files are kept, and what TLS refuses."""

import asyncio
import ipaddress
import os
import shutil
import ssl
import stat
import subprocess
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bal.errors import Rejected, Stop
from infra import certificates as pki

DAY_US = 86_400_000_000
NOW_US = int(datetime.now(UTC).timestamp() * 1_000_000)


class FixedClock:
    def __init__(self, now_us=NOW_US):
        self.us = now_us

    def now_us(self):
        return self.us


CLOCK = FixedClock()


@pytest.fixture
def ca(tmp_path):
    (tmp_path / "ca").mkdir()
    return pki.create_ca(tmp_path / "ca", CLOCK)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def put(folder, pair):
    folder.mkdir()
    pki.write_new(folder / "crt", pair[0], 0o644)
    pki.write_private(folder / "key", pair[1])
    return folder / "crt", folder / "key"


def test_a_ca_is_made_once_and_read_again(tmp_path, ca):
    assert mode(tmp_path / "ca" / "ca.key") == 0o600
    again = pki.load_ca(tmp_path / "ca")
    assert again.certificate == ca.certificate
    before = (tmp_path / "ca" / "ca.key").read_bytes()
    with pytest.raises(FileExistsError):
        pki.create_ca(tmp_path / "ca", CLOCK)
    assert (tmp_path / "ca" / "ca.key").read_bytes() == before


def test_a_ca_with_another_key_is_refused(tmp_path, ca):
    (tmp_path / "other").mkdir()
    pki.create_ca(tmp_path / "other", CLOCK)
    shutil.copy(tmp_path / "other" / "ca.crt", tmp_path / "ca" / "ca.crt")
    with pytest.raises(ValueError, match="not the key"):
        pki.load_ca(tmp_path / "ca")


def test_a_secret_is_never_wider_than_0600(tmp_path, monkeypatch):
    modes = []
    real = os.fdopen

    def spy(handle, kind):
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return real(handle, kind)

    monkeypatch.setattr(os, "fdopen", spy)
    pki.write_private(tmp_path / "secret", b"x")
    assert modes == [0o600]  # before the first byte
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        pki.write_private(tmp_path / "link", b"x")
    assert not (tmp_path / "elsewhere").exists()


def test_what_a_device_certificate_says(ca):
    pem, _ = pki.issue_device(ca, "head-end_1.a", CLOCK)
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in names] == ["head-end_1.a"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    days = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days
    assert days == 825
    assert certificate.not_valid_before_utc < datetime.now(UTC)


def test_what_a_server_certificate_says(ca):
    hosts = ["grid.example", "192.0.2.7", "0.0.0.0", "127.0.0.1", "::"]
    certificate = x509.load_pem_x509_certificate(pki.issue_server(ca, hosts, CLOCK)[0])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "grid.example"]
    addresses = names.get_values_for_type(x509.IPAddress)
    assert addresses == [ipaddress.ip_address(a) for a in ("127.0.0.1", "::1", "192.0.2.7")]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_no_leaf_outlives_its_ca(ca):
    nearly = FixedClock(NOW_US + 3600 * DAY_US)
    certificate = x509.load_pem_x509_certificate(pki.issue_device(ca, "a", nearly)[0])
    assert certificate.not_valid_after_utc == ca.certificate.not_valid_after_utc
    with pytest.raises(Stop) as stop:
        pki.issue_device(ca, "a", FixedClock(NOW_US + 3651 * DAY_US))
    assert stop.value.code == "ca-expired"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a+b", "#", "a b", "ä", "a\n", "x" * 65])
def test_names_that_are_refused(ca, name):
    with pytest.raises(Rejected) as refused:
        pki.issue_device(ca, name, CLOCK)
    assert refused.value.code == "name-invalid"


@pytest.mark.parametrize("host", ["", "a b", "-a", "a..b", "*", "ä.example", "a" * 64, "a\n"])
def test_hosts_that_are_refused(ca, host):
    with pytest.raises(Rejected) as refused:
        pki.issue_server(ca, [host], CLOCK)
    assert refused.value.code == "host-invalid"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_agrees(tmp_path, ca):
    """RFC 5280 §4.2: the extensions pass its strict check."""
    pem, _ = pki.issue_device(ca, "meter-1", CLOCK)
    (tmp_path / "d.crt").write_bytes(pem)
    openssl = shutil.which("openssl")
    verify = [openssl, "verify", "-x509_strict", "-purpose", "sslclient"]
    command = [*verify, "-CAfile", str(tmp_path / "ca" / "ca.crt"), str(tmp_path / "d.crt")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    command = [openssl, "x509", "-noout", "-fingerprint", "-sha256", "-in"]
    printed = subprocess.check_output([*command, str(tmp_path / "d.crt")], text=True)
    assert printed.strip().split("=")[1].replace(":", "").lower() == pki.fingerprint(pem)


REFUSED = ("SSLError", "ConnectionResetError", "closed")  # as far as the alert came through


async def handshake(server, client):
    """The client's certificate's name as the server sees it, or the error of either side."""
    seen = asyncio.get_running_loop().create_future()

    async def serve(_, writer):
        subject = writer.get_extra_info("peercert")["subject"]
        seen.set_result(dict(pair[0] for pair in subject)["commonName"])
        writer.write(b"!")
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
    port = listener.sockets[0].getsockname()[1]
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        try:
            if await reader.read(1) != b"!":
                return "closed"
        finally:
            writer.close()
        return await seen
    except (ssl.SSLError, ConnectionError) as error:
        return type(error).__name__
    finally:
        listener.close()
        await listener.wait_closed()


def device(tmp_path, label, pair):
    return pki.client_context(tmp_path / "ca" / "ca.crt", *put(tmp_path / label, pair))


def test_mutual_tls(tmp_path, ca):
    pair = put(tmp_path / "server", pki.issue_server(ca, [], CLOCK))
    server = pki.server_context(*pair, tmp_path / "ca" / "ca.crt")
    (tmp_path / "other").mkdir()
    other = pki.create_ca(tmp_path / "other", CLOCK)
    old = FixedClock(NOW_US - 900 * DAY_US)
    (tmp_path / "oldca").mkdir()
    good = device(tmp_path, "good", pki.issue_device(ca, "meter-1", CLOCK))
    foreign = device(tmp_path, "foreign", pki.issue_device(other, "meter-1", CLOCK))
    as_server = device(tmp_path, "as-server", pki.issue_server(ca, ["meter-1"], CLOCK))
    nobody = pki.client_context(tmp_path / "ca" / "ca.crt")
    assert asyncio.run(handshake(server, good)) == "meter-1"
    for refused in (foreign, as_server, nobody):
        assert asyncio.run(handshake(server, refused)) in REFUSED
    elder = pki.create_ca(tmp_path / "oldca", old)
    expired = device(tmp_path, "expired", pki.issue_device(elder, "meter-1", old))
    server = pki.server_context(*pair, tmp_path / "oldca" / "ca.crt")
    assert asyncio.run(handshake(server, expired)) in REFUSED


def test_a_client_refuses_a_server_of_another_ca_or_name(tmp_path, ca):
    (tmp_path / "other").mkdir()
    pki.create_ca(tmp_path / "other", CLOCK)
    pair = put(tmp_path / "server", pki.issue_server(ca, [], CLOCK))
    server = pki.server_context(*pair)
    stranger = pki.client_context(tmp_path / "other" / "ca.crt")
    assert asyncio.run(handshake(server, stranger)) == "SSLCertVerificationError"
    client = pki.client_context(tmp_path / "ca" / "ca.crt")
    assert client.check_hostname
    assert client.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert server.minimum_version >= ssl.TLSVersion.TLSv1_2
