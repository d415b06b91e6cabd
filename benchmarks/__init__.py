"""Measurements of MosaicFS, side by side with its peers in the same run.

`./mosaicfs bench` runs them all, prints one table and writes the JSON that stands in `results/`.
"""
