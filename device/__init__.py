"""The on-glasses runtime. Importing this package imports nothing: `device.types` is for everyone."""
