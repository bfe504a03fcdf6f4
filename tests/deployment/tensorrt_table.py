"""Which of ONNX's operators TensorRT has."""

# Operators with a Y in the table of TensorRT 8.4, its oldest with hard NMS:
# https://github.com/onnx/onnx-tensorrt/blob/8.4-GA/docs/operators.md
TENSORRT = set(
    'Add And AveragePool BatchNormalization Cast Clip Concat Constant '
    'ConstantOfShape Conv Div Equal Exp Expand Flatten Gather GatherElements '
    'GatherND Gemm GlobalAveragePool Greater GreaterOrEqual Identity '
    'InstanceNormalization LeakyRelu Less LessOrEqual MatMul Max MaxPool Min Mul Neg '
    'NonMaxSuppression Not Or Pad Pow Range ReduceMax ReduceMean ReduceMin ReduceSum '
    'Relu Reshape Resize ScatterElements ScatterND Shape Sigmoid Slice Softmax Split '
    'Sqrt Squeeze Sub Sum Tile TopK Transpose Unsqueeze Where'.split()
)
