"""Sources: iterables of timed values (camera, recording, emulator)."""
