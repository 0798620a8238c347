"""ZIP archives: read strictly, and written with aligned members."""

from __future__ import annotations

from ckpt_core.zips.archive import STORED, Zip
from ckpt_core.zips.writer import ZipWriter

__all__ = ["STORED", "Zip", "ZipWriter"]
