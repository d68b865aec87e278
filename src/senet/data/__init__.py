"""Labelled images: bundled ones, folders of photos, and the Hugging Face hub's."""

from senet.data.decode import ImageError, decode
from senet.data.loaders import loader
from senet.data.registry import open_source
from senet.data.source import Source, Split

__all__ = ["ImageError", "Source", "Split", "decode", "loader", "open_source"]
