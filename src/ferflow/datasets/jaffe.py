"""Source ``jaffe``: Japanese Female Facial Expression (Lyons et al., 1998), ten subjects, seven expressions.

Files are called ``KA.AN1.39.tiff``: subject, expression and its number, number of the picture. The expressions are AN anger,
DI disgust, FE fear, HA happy, NE neutral, SA sad, SU surprise.
"""

import re
from pathlib import Path, PurePosixPath

from ferflow.datasets import WHOLE, About, DataError, Part, Rows
from ferflow.datasets._files import IMAGES, Files, expression
from ferflow.registry import register

ABOUT = About(
    title="JAFFE",
    faces="213 grey pictures of 256 x 256, 7 expressions, 10 subjects",
    terms="non-commercial research, after agreeing to its terms of use",
    homepage="https://zenodo.org/records/3451524",
    layout="KA.AN1.39.tiff (folder or zip)",
    by_hand="ask for access on the page above",
    agreement=True,
)
_NAME = re.compile(r"([A-Z]{2})\.([A-Z]{2})\d+\.\d+$")


@register
def load(path: Path, *, seed: int, part: Part = WHOLE) -> Rows:
    """Rows with ``subject``; ``DataError`` for a picture that is not called as above."""
    with Files(Path(path), IMAGES) as files:
        if not files.names:
            raise DataError(f"{path} holds no picture: expected files such as KA.AN1.39.tiff")
        for name in part.of(files.names):
            found = _NAME.match(PurePosixPath(name).stem)
            label = expression(found[2]) if found else None
            if found is None or label is None:
                raise DataError(f"{path}: {name} is not of the form KA.AN1.39.tiff with AN, DI, FE, HA, NE, SA or SU")
            yield {
                "id": f"jaffe-{PurePosixPath(name).stem}",
                "image": files.read(name),
                "source": "jaffe",
                "subject": found[1],
                "expression": label,
            }
