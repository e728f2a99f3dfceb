"""Task heads, one file each: features in, one task's outputs and loss out.

An entry is a class ``Head(classes, in_features, dropout, label_smoothing)``, a module with
``forward(features) -> Tensor`` (raw), ``loss(raw, target) -> Tensor`` (a scalar; rows without a label do
not count, and a batch without any gives 0) and ``outputs(raw) -> Tensor`` (N x K probabilities; for affect
N x 2 values), and the attribute ``kind``: the kind of task it learns. Targets are as ``tables.task_target`` gives
them. The head named like the kind is the default; a member's ``heads`` chooses another.
"""
