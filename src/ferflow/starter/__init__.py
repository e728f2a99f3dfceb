"""The starter: a small network for real faces that ferflow carries, so that a fresh clone answers at once.

Its card is README.md beside it.
"""

from pathlib import Path

MODEL = Path(__file__).with_name("model.onnx")
