"""The live run on eyewear: cameras and microcontroller, the same loop, what the wearer is told."""
