"""Other people's recordings as sources. One file per vendor, one row in `tools.importers.SOURCES`."""
