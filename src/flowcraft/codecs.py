"""Codecs for payloads: encryption with a key ring, compression, and both."""

from flowcraft.adapters.codecs.aes_gcm import AesGcmCodec
from flowcraft.adapters.codecs.compression import ChainedCodec, CompressionCodec
from flowcraft.ports.codec import AsyncCodec, BytesCodec, Codec

__all__ = [
    "AesGcmCodec",
    "AsyncCodec",
    "BytesCodec",
    "ChainedCodec",
    "Codec",
    "CompressionCodec",
]
