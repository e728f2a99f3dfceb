"""The starter: a small network for real faces that ferflow carries, so that a fresh clone answers at once.

Its card is README.md beside it. It knows where the file lies and nothing of what is in it.
"""

from pathlib import Path

MODEL = Path(__file__).with_name("model.onnx")
