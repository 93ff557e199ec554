"""From systems to real kernels (recurrent, chunked, convolution): plans, and the ONNX nodes that follow them."""
