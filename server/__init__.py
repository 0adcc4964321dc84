"""The companion server. Of the glasses it sees `device.types` and nothing else."""
