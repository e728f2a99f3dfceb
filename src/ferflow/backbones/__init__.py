"""Networks that turn faces into features, one file each.

An entry is a function ``build(variant, *, in_channels, image_size, pretrained, **options)`` that returns
a module mapping float N x C x S x S to N x F, with the attribute ``num_features`` = F. It knows no task.
"""
