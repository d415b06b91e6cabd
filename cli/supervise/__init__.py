"""`mosaicfs up`: set an instance up, start its processes, keep them running, stop them in order."""
