"""Export formats, one file each: a network becomes files that run without the code that trained it.

An entry is a function ``export(network, card, folder) -> Path`` for a network that maps
uint8 faces (N x S x S x 3) to a tuple of outputs, one a task of the card; the card goes into the file.
"""
