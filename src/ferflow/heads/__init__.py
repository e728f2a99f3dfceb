"""Task heads, one file a kind: features in, one task's outputs, loss and probabilities out.

An entry is a class ``Head(task, classes, in_features, dropout)``, a module with
``forward(features) -> Tensor`` (raw), ``loss(raw, target) -> Tensor`` (a scalar; rows without a label do
not count, and a batch without any gives 0) and ``outputs(raw) -> Tensor`` (what is predicted). The
method ``encode(labels, classes)`` turns the label columns of the manifest into the target array.
"""
