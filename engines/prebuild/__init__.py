"""`driftcam engine`: TensorRT engines built ahead."""
