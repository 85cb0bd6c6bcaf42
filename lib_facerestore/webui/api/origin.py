"""Whether a request may come from a web page of somebody else: cross-site requests (CSRF) and DNS rebinding.

A browser adds Origin and Sec-Fetch-Site, and no page can change or omit them; programs send neither. A page that has
rebound its own host name to this machine sends its own name as Host, over plain HTTP, where there is no Sec-Fetch-Site.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from ...errors import FaceRestoreError
from .. import host

HOSTS = "FACERESTORE_HOSTS"
"""Environment variable: host names, with commas between them, under which the routes may be reached; * means any."""
_OWN_SUFFIXES = (".localhost", ".local", ".gradio.live")  # of this machine, of the local network, of --share
_OPEN = ("listen", "share", "ngrok", "server_name")
_REMEDY = f"list it in --cors-allow-origins, or its host name in the environment variable {HOSTS}."


class ForeignPageError(FaceRestoreError):
    """The request may come from a web page that is not of this WebUI."""


def check_origin(method: str, headers: Mapping[str, str], login: bool) -> None:
    """Check the headers of a request.

    Args:
        method: of HTTP.
        headers: by name in small letters.
        login: whether it needs a password, which a page that has rebound its name does not know.

    Raises:
        ForeignPageError: it comes from a page of another origin, or reaches this machine under a name that is not its
            own.
    """
    origin, fetch = headers.get("origin", ""), headers.get("sec-fetch-site", "")
    own = host_of(headers.get("host", ""))
    listed = _listed_hosts()
    if "*" in listed or (origin and _allowed(origin, listed)):
        return
    same = fetch in ("same-origin", "none")
    if origin and not same:
        forwarded = headers.get("x-forwarded-host", "").split(",")[0]
        places = [_place(headers.get("host", "")), *([_place(forwarded)] if forwarded.strip() else [])]
        same = not fetch and _place(urlsplit(origin).netloc) in places and origin != "null"
    if (origin or (fetch and method not in ("GET", "HEAD"))) and not same:
        raise ForeignPageError(f"The request comes from a web page of {_shown(origin)}; to allow that, {_REMEDY}")
    # Sec-Fetch-Site is sent over HTTPS, and to this machine's own addresses: there no name can be rebound.
    if login or fetch or is_own(own) or own in listed:
        return
    if origin or not any(host.cmd_opt(name, "") for name in _OPEN):
        raise ForeignPageError(f"This machine is not known as {_shown(own)}; if it is, {_REMEDY}")


def host_of(place: str) -> str:
    """The name or address in a Host header, in small letters, without the port; "" if it is none."""
    try:
        return (urlsplit(f"//{place.strip()}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_own(name: str) -> bool:
    """Whether a host name cannot be one that somebody else has pointed at this machine."""
    if not re.fullmatch(r"[\w.:%-]*", name):
        return False
    try:
        ipaddress.ip_address(name.partition("%")[0])
        return True
    except ValueError:
        return "." not in name or name.endswith(_OWN_SUFFIXES)  # names without a dot are of the local network


def _place(netloc: str) -> tuple[str, str]:
    """Host and port; the ports of HTTP and HTTPS count as none, since a proxy may speak either."""
    port = netloc.strip().rpartition(":")[2]
    return host_of(netloc), port if port.isdigit() and port not in ("80", "443") else ""


def _listed_hosts() -> set[str]:
    names = {name.strip().lower() for name in os.environ.get(HOSTS, "").split(",")}
    origins = _origins()
    names |= {"*"} if "*" in origins else {host_of(urlsplit(one).netloc) for one in origins}
    return names - {""}


def _origins() -> list[str]:
    return [one.strip().rstrip("/").lower() for one in str(host.cmd_opt("cors_allow_origins", "")).split(",")]


def _allowed(origin: str, listed: set[str]) -> bool:
    pattern = str(host.cmd_opt("cors_allow_origins_regex", ""))
    try:
        matches = bool(pattern) and re.fullmatch(pattern, origin) is not None
    except re.error:
        matches = False
    named = {name.strip().lower() for name in os.environ.get(HOSTS, "").split(",")} - {""}
    return matches or origin.lower() in _origins() or host_of(urlsplit(origin).netloc) in named


def _shown(name: str) -> str:
    clean = "".join(sign for sign in name if sign.isprintable())[:100]
    return clean or "another site"
