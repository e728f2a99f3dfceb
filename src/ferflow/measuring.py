"""What can be measured of every image: its light, its sharpness, and the hashes that find it again.

One pass over a manifest, cut at its row groups so that processes and machines can share it. It judges nothing.
"""

from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from tqdm import tqdm

from ferflow.images import ImageError, decode, image_statistics
from ferflow.parallel import each
from ferflow.tables import check_manifest

STATISTICS = ("brightness", "contrast", "sharpness")
THUMBNAIL = 16  # side, pixels
_DCT = 32  # side of the picture whose low frequencies the perceptual hash looks at
_WORTH_PROCESSES = 10  # row groups


def measure(manifest: Path) -> pd.DataFrame:
    """One row an image, in the manifest's order.

    The columns: ``id, pixel_hash, brightness, contrast, sharpness, phash, thumbnail, unreadable``.
    Brightness is the mean grey level (0 to 255), contrast its standard deviation, sharpness the variance of the
    Laplacian. Images with the same decoded pixels have the same ``pixel_hash``. ``phash`` is the 64-bit perceptual
    hash of Zauner (2010): low DCT frequencies against their median. ``thumbnail`` is 16 x 16 grey bytes.
    ``unreadable`` is empty, or says why the image cannot be decoded; the measures are then null.
    """
    check_manifest(manifest)
    groups = range(pq.read_metadata(manifest).num_row_groups)
    many = len(groups) >= _WORTH_PROCESSES
    parts = each(partial(measure_group, manifest.resolve()), groups, worth_it=many)
    measured = tqdm(parts, total=len(groups), unit="group", desc="measure", disable=not many)
    return pd.concat(list(measured), ignore_index=True)


def measure_group(manifest: Path, group: int) -> pd.DataFrame:
    """``measure`` for one row group of the manifest."""
    cv2.setNumThreads(1)
    with pq.ParquetFile(manifest) as file:
        table = file.read_row_group(group, columns=["id", "image"])
    pairs = zip(table["id"].to_pylist(), table["image"].to_pylist(), strict=True)
    return pd.DataFrame(list(_rows(pairs)))


def _rows(images: Iterator[tuple[str, bytes | None]]) -> Iterator[dict[str, Any]]:
    for id_, data in images:
        try:
            rgb = decode(data or b"")
        except ImageError as error:
            nothing = dict.fromkeys(STATISTICS, np.nan)
            yield {"id": id_, "pixel_hash": None, **nothing, "phash": np.uint64(0), "thumbnail": b"", "unreadable": str(error)}
            continue
        gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        yield {
            "id": id_,
            "pixel_hash": blake2b(rgb.tobytes(), digest_size=16, salt=f"{rgb.shape[0]}x{rgb.shape[1]}".encode()).hexdigest(),
            **image_statistics(gray),
            "phash": perceptual_hash(gray),
            "thumbnail": cv2.resize(gray, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).tobytes(),
            "unreadable": "",
        }


def perceptual_hash(gray: np.ndarray) -> np.uint64:
    """64 bits that hardly change with size, light and compression; the distance is the number of differing bits."""
    small = cv2.resize(gray, (_DCT, _DCT), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    return np.packbits(low > np.median(low[1:])).view(np.uint64)[0]
