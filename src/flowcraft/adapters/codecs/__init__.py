"""Codecs that come along; ``flowcraft.codecs`` has their public names."""
