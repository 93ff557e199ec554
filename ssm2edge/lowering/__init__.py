"""From systems to real kernels (recurrent, chunked, convolution) and their ONNX functions: plans, and the texts that follow."""
