"""Which names a browser may call this studio by, and which pages may speak to it. Knows addresses, no page and no
person.

A foreign page whose name is made to point at this machine (DNS rebinding) still sends its own name as `Host`; a foreign
page that opens a web socket sends its own name as `Origin`. An address in digits cannot be made to point elsewhere, but
only those of this machine are taken.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from acestep_lab.errors import MachineError, shown

_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_][a-z0-9_.-]{0,252})(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)
_DEFAULT = {"http": 80, "https": 443}


class Host(NamedTuple):
    """A name or an address in its one spelling, and the port that was said with it."""

    name: str
    port: int | None = None


def read_host(text: str) -> Host | None:
    """A `Host` header, or None where it is none."""
    found = _HOST.fullmatch(text)
    if found is None or (found[2] and not 0 < int(found[2]) < 65536):
        return None
    return Host(one_name(found[1]), int(found[2]) if found[2] else None)


def read_page(origin: str) -> Host | None:
    """The host and port of an `Origin` as browsers write it, None for anything else: no path, no blank, no name of a user."""
    scheme, _, rest = origin.partition("://")
    host = read_host(rest) if scheme in _DEFAULT else None
    return None if host is None else Host(host.name, host.port or _DEFAULT[scheme])


def one_name(text: str) -> str:
    """A name in small letters; an address in its shortest spelling, IPv4 inside IPv6 as IPv4."""
    text = text.lower().removeprefix("[").removesuffix("]")
    found = _address(text)
    return text if found is None else str(found)


@lru_cache(256)  # every request names a host or two, mostly the same
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def read_address(text: str) -> str:
    """An address in its one spelling; "" where it is none."""
    found = _address(text.strip())
    return "" if found is None else str(found)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address."""
    found = _address(one_name(address))
    return address.lower() == "localhost" if found is None else found.is_loopback


def is_everywhere(address: str) -> bool:
    """Whether an address to bind to means all of this machine's."""
    found = _address(address)
    return address == "" or (found is not None and found.is_unspecified)


def this_machine() -> list[str]:
    """Names and addresses by which others on the network know this machine."""
    name = socket.gethostname().lower()
    names = [name, f"{name.partition('.')[0]}.local"]
    with contextlib.suppress(OSError):  # a machine may not know its own name
        names += [str(found[4][0]) for found in socket.getaddrinfo(name, None)]
    return list(dict.fromkeys(one_name(one) for one in names))


class Hosts:
    """The hosts a studio answers to: loopback, what it is bound to, and what was named with `--origin`."""

    def __init__(self, address: str = "127.0.0.1", origins: Sequence[str] = ()) -> None:
        """`origins` are hosts such as "hub.example.org" or "https://hub.example.org:8443"; "*" is any. MachineError."""
        self.any = "*" in origins
        self.behind = bool(origins)
        self._bound = not is_loopback(address)
        self._origins = {one for text in origins if text != "*" for one in read_origin(text)}
        self._names = {"localhost", *(one.name for one in self._origins)}
        if self._bound:
            self._names |= {one_name(address), *this_machine()} - {""}

    def has(self, host: Host | None, here: str = "") -> bool:
        """Whether a request may call the studio so; `here` is this machine's end of its connection."""
        if host is None:
            return False
        known = host.name in self._names or is_loopback(host.name)
        return self.any or known or (self._bound and host.name == one_name(here))

    def allows_origin(self, origin: str, host: Host | None) -> bool:
        """Whether a page of this origin may speak to it: the studio's own pages, and those of `--origin`."""
        if self.any:
            return True
        page = read_page(origin)
        if page is None:
            return False
        usual = _DEFAULT[origin.partition(":")[0]]
        own = host is not None and page == Host(host.name, host.port or usual)
        return own or page in self._origins


def read_origin(text: str) -> Iterable[Host]:
    """The hosts with ports that `--origin` names: the scheme's default port, or both where no scheme is said."""
    scheme, _, rest = text.strip().rstrip("/").rpartition("://")
    host = read_host(rest) if scheme.lower() in ("", "http", "https") else None
    if host is None:
        raise MachineError(
            f"--origin takes a host, such as hub.example.org or https://hub.example.org:8443, or * for any; "
            f"not {shown(text)}."
        )
    ports = (host.port,) if host.port else (_DEFAULT[scheme.lower()],) if scheme else tuple(_DEFAULT.values())
    return [Host(host.name, port) for port in ports]
