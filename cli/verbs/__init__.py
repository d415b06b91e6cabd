"""One file per verb. Each has a click command called `verb`, and imports its work when it runs."""
