"""The link to the microcontroller."""
