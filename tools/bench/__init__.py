"""One file per bench: `beheld bench NAME`."""
