"""From checkpoint to ONNX: export, quantise, check parity through `device.model`, write the card."""
