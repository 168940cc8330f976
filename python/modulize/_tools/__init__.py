"""What single quantization tools need: each file is imported when its target is prepared for."""
