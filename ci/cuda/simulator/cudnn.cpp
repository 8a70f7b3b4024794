// The simulated cuDNN (libcudnn.so.9): handles and descriptors. Convolutions are in cudnn_convolution.cpp.
#include "cudnn.h"
#include <algorithm>

using namespace cudnn;

namespace {

bool known_type(int type) { return type >= 0 && type <= 21; }

// Strides of a packed tensor of that format.
void pack(Tensor &tensor, Format format) {
    int n = tensor.dimensions;
    std::ptrdiff_t stride = 1;
    auto place = [&](int axis) { tensor.strides[axis] = stride, stride *= tensor.sizes[axis]; };
    if (format == NHWC) place(1);
    for (int axis = n - 1; axis >= 2; axis--) place(axis);
    if (format == NCHW) place(1);
    place(0);
}

Status check_sizes(int dimensions, const int *sizes) {
    double product = 1;
    for (int i = 0; i < dimensions; i++) {
        if (sizes[i] <= 0) return BAD_PARAM;
        product *= sizes[i];
    }
    return product > 2147483647.0 ? NOT_SUPPORTED : SUCCESS;
}

int set_tensor(Tensor *tensor, int type, int dimensions, const int *sizes, const int *strides) {
    if (!tensor || !sizes) return BAD_PARAM_NULL_POINTER;
    if (!known_type(type)) return BAD_PARAM;
    if (dimensions < 3 || dimensions > MAX_DIMENSIONS) return NOT_SUPPORTED;
    if (Status status = check_sizes(dimensions, sizes)) return status;
    Tensor set;
    set.type = type, set.dimensions = dimensions;
    std::copy(sizes, sizes + dimensions, set.sizes);
    if (strides) {
        for (int i = 0; i < dimensions; i++)
            if (strides[i] <= 0) return BAD_PARAM;
        std::copy(strides, strides + dimensions, set.strides);
    }
    *tensor = set;
    return SUCCESS;
}

int set_filter(Filter *filter, int type, int format, int dimensions, const int *sizes) {
    if (!filter || !sizes) return BAD_PARAM_NULL_POINTER;
    if (!known_type(type) || format < NCHW || format > NCHW_VECT_C) return BAD_PARAM;
    if (format == NCHW_VECT_C || dimensions < 3 || dimensions > MAX_DIMENSIONS) return NOT_SUPPORTED;
    if (Status status = check_sizes(dimensions, sizes)) return status;
    Filter set;
    set.type = type, set.format = Format(format), set.dimensions = dimensions;
    std::copy(sizes, sizes + dimensions, set.sizes);
    *filter = set;
    return SUCCESS;
}

int set_convolution(Convolution *convolution, int dimensions, const int *padding, const int *stride,
                    const int *dilation, int mode, int compute_type) {
    if (!convolution || !padding || !stride || !dilation) return BAD_PARAM_NULL_POINTER;
    if (dimensions < 1 || (mode != CONVOLUTION && mode != CROSS_CORRELATION) || !known_type(compute_type))
        return BAD_PARAM;
    if (dimensions > MAX_DIMENSIONS - 2) return NOT_SUPPORTED;
    Convolution set;
    for (int i = 0; i < dimensions; i++) {
        if (padding[i] < 0 || stride[i] <= 0 || dilation[i] <= 0) return BAD_PARAM;
        set.padding[i] = padding[i], set.stride[i] = stride[i], set.dilation[i] = dilation[i];
    }
    set.dimensions = dimensions, set.mode = Mode(mode), set.compute_type = compute_type;
    *convolution = set;
    return SUCCESS;
}

template <typename T> int create(T **descriptor) {
    if (!descriptor) return BAD_PARAM_NULL_POINTER;
    *descriptor = new T;
    return SUCCESS;
}

template <typename T> int destroy(T *descriptor) {
    delete descriptor;
    return SUCCESS;
}

} // namespace

bool Tensor::packed(Format format) const {
    Tensor other = *this;
    pack(other, format);
    for (int i = 0; i < dimensions; i++) // the stride of a single element says nothing
        if (sizes[i] > 1 && strides[i] != other.strides[i]) return false;
    return true;
}

extern "C" {

std::size_t cudnnGetVersion() { return 92100; } // 9.21.0, whose interface cudarc declares
std::size_t cudnnGetCudartVersion() { return 13000; }
int cudnnOpsVersionCheck() { return SUCCESS; }
int cudnnCnnVersionCheck() { return SUCCESS; }
int cudnnAdvVersionCheck() { return SUCCESS; }

const char *cudnnGetErrorString(int status) {
    switch (status) {
    case SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case BAD_PARAM_NULL_POINTER: return "CUDNN_STATUS_BAD_PARAM_NULL_POINTER";
    case BAD_PARAM_STREAM_MISMATCH: return "CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH";
    case BAD_PARAM_SHAPE_MISMATCH: return "CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH";
    case NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case INTERNAL_ERROR: return "CUDNN_STATUS_INTERNAL_ERROR";
    case EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    default: return "CUDNN_UNKNOWN_STATUS";
    }
}

int cudnnCreate(Handle **handle) {
    if (!handle) return BAD_PARAM_NULL_POINTER;
    if (simulator::device_count() == 0) return NOT_INITIALIZED;
    *handle = new Handle{std::max(0, simulator::current_device()), simulator::resolve(nullptr)};
    return SUCCESS;
}

int cudnnDestroy(Handle *handle) {
    // The real one synchronises the device.
    if (handle) simulator::synchronize(handle->stream);
    delete handle;
    return SUCCESS;
}

int cudnnSetStream(Handle *handle, CUstream stream) {
    if (!handle) return BAD_PARAM_NULL_POINTER;
    if (stream && simulator::device_of(stream) != handle->device) return BAD_PARAM_STREAM_MISMATCH;
    handle->stream = simulator::resolve(stream);
    return SUCCESS;
}

int cudnnGetStream(Handle *handle, CUstream *stream) {
    if (!handle || !stream) return BAD_PARAM_NULL_POINTER;
    *stream = handle->stream;
    return SUCCESS;
}

int cudnnCreateTensorDescriptor(Tensor **tensor) { return create(tensor); }
int cudnnDestroyTensorDescriptor(Tensor *tensor) { return destroy(tensor); }
int cudnnCreateFilterDescriptor(Filter **filter) { return create(filter); }
int cudnnDestroyFilterDescriptor(Filter *filter) { return destroy(filter); }
int cudnnCreateConvolutionDescriptor(Convolution **convolution) { return create(convolution); }
int cudnnDestroyConvolutionDescriptor(Convolution *convolution) { return destroy(convolution); }

int cudnnSetTensor4dDescriptor(Tensor *tensor, int format, int type, int n, int c, int h, int w) {
    int sizes[] = {n, c, h, w};
    if (format < NCHW || format > NCHW_VECT_C) return BAD_PARAM;
    if (format == NCHW_VECT_C) return NOT_SUPPORTED;
    int status = set_tensor(tensor, type, 4, sizes, nullptr);
    if (status == SUCCESS) pack(*tensor, Format(format));
    return status;
}

int cudnnSetTensor4dDescriptorEx(Tensor *tensor, int type, int n, int c, int h, int w, int n_stride, int c_stride,
                                 int h_stride, int w_stride) {
    int sizes[] = {n, c, h, w}, strides[] = {n_stride, c_stride, h_stride, w_stride};
    return set_tensor(tensor, type, 4, sizes, strides);
}

int cudnnSetTensorNdDescriptor(Tensor *tensor, int type, int dimensions, const int *sizes, const int *strides) {
    if (!strides) return BAD_PARAM_NULL_POINTER;
    return set_tensor(tensor, type, dimensions, sizes, strides);
}

int cudnnSetTensorNdDescriptorEx(Tensor *tensor, int format, int type, int dimensions, const int *sizes) {
    if (format < NCHW || format > NCHW_VECT_C) return BAD_PARAM;
    if (format == NCHW_VECT_C) return NOT_SUPPORTED;
    int status = set_tensor(tensor, type, dimensions, sizes, nullptr);
    if (status == SUCCESS) pack(*tensor, Format(format));
    return status;
}

int cudnnGetTensorSizeInBytes(const Tensor *tensor, std::size_t *bytes) {
    simulator::Number number;
    if (!tensor || !bytes) return BAD_PARAM_NULL_POINTER;
    if (!number_of(tensor->type, number)) return NOT_SUPPORTED;
    *bytes = tensor->elements_spanned() * simulator::size_of(number);
    return SUCCESS;
}

int cudnnSetFilter4dDescriptor(Filter *filter, int type, int format, int k, int c, int h, int w) {
    int sizes[] = {k, c, h, w};
    return set_filter(filter, type, format, 4, sizes);
}

int cudnnSetFilterNdDescriptor(Filter *filter, int type, int format, int dimensions, const int *sizes) {
    return set_filter(filter, type, format, dimensions, sizes);
}

int cudnnSetConvolution2dDescriptor(Convolution *convolution, int pad_h, int pad_w, int stride_h, int stride_w,
                                    int dilation_h, int dilation_w, int mode, int compute_type) {
    int padding[] = {pad_h, pad_w}, stride[] = {stride_h, stride_w}, dilation[] = {dilation_h, dilation_w};
    return set_convolution(convolution, 2, padding, stride, dilation, mode, compute_type);
}

int cudnnSetConvolutionNdDescriptor(Convolution *convolution, int dimensions, const int *padding, const int *stride,
                                    const int *dilation, int mode, int compute_type) {
    return set_convolution(convolution, dimensions, padding, stride, dilation, mode, compute_type);
}

int cudnnSetConvolutionMathType(Convolution *convolution, int math) {
    if (!convolution) return BAD_PARAM_NULL_POINTER;
    if (math < DEFAULT_MATH || math > FMA_MATH) return BAD_PARAM;
    convolution->math = MathType(math);
    return SUCCESS;
}

int cudnnGetConvolutionMathType(Convolution *convolution, int *math) {
    if (!convolution || !math) return BAD_PARAM_NULL_POINTER;
    *math = convolution->math;
    return SUCCESS;
}

int cudnnSetConvolutionGroupCount(Convolution *convolution, int groups) {
    if (!convolution) return BAD_PARAM_NULL_POINTER;
    if (groups < 1) return BAD_PARAM;
    convolution->groups = groups;
    return SUCCESS;
}

int cudnnGetConvolutionGroupCount(Convolution *convolution, int *groups) {
    if (!convolution || !groups) return BAD_PARAM_NULL_POINTER;
    *groups = convolution->groups;
    return SUCCESS;
}

} // extern "C"
