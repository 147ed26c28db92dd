"""What certificates are verified by."""

from __future__ import annotations

import ssl
from pathlib import Path

from poolmgr.errors import PoolmgrError


def load_trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return what certificates are verified by: the roots in `ca_file` (PEM), without one those of the system.

    Where those are is OpenSSL's affair, which heeds SSL_CERT_FILE and SSL_CERT_DIR. Loading takes 20 ms, and one trust
    serves all threads. Raises PoolmgrError where the file holds no certificate.
    """
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.minimum_version = ssl.TLSVersion.TLSv1_2
    # The chain is verified here, the name in _SecureLine: OpenSSL would not say for which names it is.
    trust.check_hostname = False
    if ca_file is None:
        trust.load_default_certs()
        return trust
    try:
        trust.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise PoolmgrError(f"crawl.ca_file: {ca_file} holds no certificate: give one or more in PEM form") from error
    except OSError as error:
        raise PoolmgrError(f"crawl.ca_file: cannot read {ca_file}: {error.strerror}") from error
    return trust
