"""The command line, benches, importers and exporters."""
