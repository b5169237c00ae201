"""Where a client finds its server: host:port, with or without a scheme."""

import ipaddress
import socket
from typing import NamedTuple

from cetnet_keras.errors import InputError


class Target(NamedTuple):
    """A parsed target; `scheme` is http, grpc, or "" where nothing was said, an IPv6 host has no brackets."""

    scheme: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it is this machine's own address, which no proxy of the environment can reach."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_target(text: str) -> Target:
    """`host:port`, `http://host:port` or `grpc://host:port`.

    Raises:
        InputError: it is something else.
    """
    scheme, _, address = text.rpartition("://")
    host, _, port = address.rstrip("/").rpartition(":")
    if scheme not in ("", "http", "grpc") or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"target {text!r}: expected host:port, http://host:port or grpc://host:port")
    return Target(scheme, host.removeprefix("[").removesuffix("]"), int(port))


def address_count(host: str, port: int) -> int:
    """How many addresses a host has, which are tried one after another; 1 where it cannot be looked up."""
    try:
        return len(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError:  # connecting fails over it too, and says so
        return 1
