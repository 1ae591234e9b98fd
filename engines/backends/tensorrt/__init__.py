"""TensorRT through one code path, for the modules `tensorrt` (data centre) and `tensorrt_rtx` (RTX cards)."""
