"""What `mosaicfs doctor` looks at. Each check finds something out and says how to mend it."""
