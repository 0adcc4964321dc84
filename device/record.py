"""Sessions on disk: one MCAP file, appended to in chunks."""
