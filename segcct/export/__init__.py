"""Trained networks as ONNX files: written, verified, quantized, read back, and run by other backends than PyTorch."""
