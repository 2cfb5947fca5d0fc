"""Decompress the payload of one record batch under a cap on its size.

The library is the one that aiokafka itself uses (cramjam). aiokafka's own functions have no bound:
a few kilobytes from a producer could become gigabytes here. Absent: the outer, unframed
formats of magic 0 and 1, which brokers no longer hand out.
"""

from __future__ import annotations

import struct

import cramjam
import numpy as np
from numpy.typing import NDArray

# Codes of the record batch's attributes, bits 0-2.
CODEC_MASK = 0x07
CODEC_NONE = 0
CODEC_GZIP = 1
CODEC_SNAPPY = 2
CODEC_LZ4 = 3
CODEC_ZSTD = 4

# The xerial snappy stream of the Java client: magic, version and compatible version, then blocks.
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16


class DecompressionFailed(ValueError):
    """The payload is not what its codec says, or is larger than the cap."""


class Decompressor:
    """Decompresses payloads one after the other into one scratch buffer.

    Args:
        max_bytes: Cap on one payload's decompressed size.

    Not for use by two threads at once. The scratch buffer is only mapped: it takes real memory up
    to the largest payload seen.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        # One byte more than the cap shows an overrun where a codec stops silently at the end.
        self._scratch: NDArray[np.uint8] = np.empty(max_bytes + 1, np.uint8)

    def decompress(self, codec: int, payload: memoryview) -> NDArray[np.uint8]:
        """Return the decompressed payload as a view, valid until the next call.

        Args:
            codec: :data:`CODEC_GZIP`, :data:`CODEC_SNAPPY`, :data:`CODEC_LZ4` or
                :data:`CODEC_ZSTD`.
            payload: Compressed bytes, everything after the batch's header.

        Raises:
            DecompressionFailed: Unknown codec, broken payload, or more than ``max_bytes``.
        """
        try:
            if codec == CODEC_GZIP:
                size = cramjam.gzip.decompress_into(payload, self._output(0))
            elif codec == CODEC_SNAPPY:
                size = self._snappy(payload)
            elif codec == CODEC_LZ4:
                size = cramjam.lz4.decompress_into(payload, self._output(0))
            elif codec == CODEC_ZSTD:
                size = cramjam.zstd.decompress_into(payload, self._output(0))
            else:
                message = f"expected codec 0 to 4, came {codec}: a newer Kafka than this reader?"
                raise DecompressionFailed(message)
        except (cramjam.DecompressionError, struct.error) as error:
            message = (
                f"expected a payload of codec {codec} of at most {self.max_bytes} bytes, "
                f"came {len(payload)} compressed bytes that fail: {error}"
            )
            raise DecompressionFailed(message) from error
        if size > self.max_bytes:
            raise DecompressionFailed(self._too_large())
        return self._scratch[:size]

    def _output(self, at: int) -> memoryview:
        return self._scratch[at:].data

    def _too_large(self) -> str:
        return f"expected at most {self.max_bytes} decompressed bytes, came more"

    def _snappy(self, payload: memoryview) -> int:
        if bytes(payload[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
            return self._snappy_block(payload, 0)
        size = 0
        at = _XERIAL_HEADER_BYTES
        while at < len(payload):
            (length,) = struct.unpack_from("!i", payload, at)
            at += 4
            if not 0 < length <= len(payload) - at:
                message = f"expected a snappy block inside the payload, came length {length}"
                raise DecompressionFailed(message)
            size += self._snappy_block(payload[at : at + length], size)
            at += length
        return size

    def _snappy_block(self, block: memoryview, at: int) -> int:
        if cramjam.snappy.decompress_raw_len(block) > self.max_bytes - at:
            raise DecompressionFailed(self._too_large())
        return cramjam.snappy.decompress_raw_into(block, self._output(at))
