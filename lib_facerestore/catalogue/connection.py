"""The HTTP client for downloads, with the proxies and certificates that the environment variables name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import DownloadError

if TYPE_CHECKING:
    import httpx

_PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def open_client() -> httpx.Client:
    """A client that asks for uncompressed files, with a connection for each request; close it after use.

    Raises:
        DownloadError: the proxies or certificates that the environment names cannot be used.
        ImportError: the package httpx is missing.
    """
    import httpx  # here, since a WebUI must start without it

    timeout = httpx.Timeout(30.0, connect=15.0)
    headers = {"User-Agent": "facerestore", "Accept-Encoding": "identity"}  # sizes and ranges are those of the file
    try:
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.Client(timeout=timeout, headers=headers, limits=limits)
    except OSError as error:
        raise _unusable("certificates", _CERTIFICATES, error) from error
    except (ImportError, ValueError, httpx.InvalidURL) as error:  # SOCKS package missing, unknown scheme, bad address
        raise _unusable("proxy", _PROXIES, error) from error


def _unusable(what: str, variables: tuple[str, ...], error: Exception) -> DownloadError:
    """The error. It names the variables but not their values, because a proxy's address may contain a password."""
    given = ", ".join(name for name in os.environ if name.upper() in variables) or "the system's settings"
    return DownloadError(f"the {what} from {given} cannot be used ({error}); correct or unset it, then try again.")
