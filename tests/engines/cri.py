"""A client of Kubernetes' Container Runtime Interface: gRPC with messages encoded by hand.

A message is a dict from field number (of cri-api's runtime/v1/api.proto) to value: an integer, a
text, a message, or a list of these for a repeated field. An answer is a dict of lists.
"""

from __future__ import annotations

import importlib
from typing import Any, Dict

from tests.engines.daemons import PATIENCE

Message = Dict[int, Any]


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


def encode(message: Message) -> bytes:
    """The protobuf encoding of a message."""
    encoded = b""
    for field, content in message.items():
        for value in content if isinstance(content, list) else [content]:
            if isinstance(value, int):
                encoded += _varint(field << 3) + _varint(value)
                continue
            data = value.encode() if isinstance(value, str) else encode(value)
            encoded += _varint(field << 3 | 2) + _varint(len(data)) + data
    return encoded


def decode(data: bytes) -> dict[int, list[int | bytes]]:
    """The fields of a message: integers, and bytes that may be texts or messages."""
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    fields: dict[int, list[int | bytes]] = {}
    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            fields.setdefault(key >> 3, []).append(varint())
            continue
        size = {1: 8, 5: 4}.get(kind) or varint()
        fields.setdefault(key >> 3, []).append(data[at : at + size])
        at += size
    return fields


class Client:
    """A connection to the socket of a CRI plug-in."""

    def __init__(self, socket: str) -> None:
        grpc: Any = importlib.import_module("grpc")

        self.channel = grpc.insecure_channel(f"unix://{socket}")

    def __call__(
        self, method: str, message: Message, timeout: float = 60 * PATIENCE
    ) -> dict[int, Any]:
        """Call a method of RuntimeService; raises grpc.RpcError."""
        path = f"/runtime.v1.RuntimeService/{method}"
        call = self.channel.unary_unary(path, encode, decode)
        answer: dict[int, Any] = call(message, timeout=timeout)
        return answer

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()
