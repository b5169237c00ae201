"""Ports of a server: held before the model loads, so that a taken one is told at once."""

import socket

from cetnet_keras.errors import WorkFailed


def address_text(host: str, port: int) -> str:
    """host:port; an IPv6 host is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reserve(host: str, port: int, protocol: str) -> socket.socket:
    """A socket that holds a port and does not listen.

    Args:
        host: address to listen on.
        port: 0 takes any free one.
        protocol: "rest" or "grpc", whose option the message names.
    Raises:
        WorkFailed: the port is taken, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY, without which each answer takes 40 ms, on sockets that name their protocol
    reserved = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reserved.bind((host, port))
    except (OSError, OverflowError) as error:
        reserved.close()
        raise no_port(host, port, protocol, str(error)) from error
    return reserved


def no_port(host: str, port: int, protocol: str, reason: str) -> WorkFailed:
    """The error of a server that cannot listen there."""
    cure = f"name another port with --{protocol}-port, or 0 for any free one"
    return WorkFailed(f"{address_text(host, port)}: {reason}; {cure}")
