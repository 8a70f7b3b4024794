// The simulated cuBLAS (libcublas.so.13): the matrix products that candle and Feedline call. Scalars are read at the
// call (host pointer mode) and the product is computed in stream order.
#include "multiply.h"
#include "numbers.h"
#include "simulator.h"
#include "workspace.h"
#include <cstdlib>
#include <string>
#include <vector>

using namespace simulator;

namespace {

// Values of cublas_api.h and library_types.h.
enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum Operation { OP_N = 0, OP_T = 1, OP_C = 2 };
enum Compute {
    COMPUTE_16F = 64, COMPUTE_16F_PEDANTIC = 65, COMPUTE_32F = 68, COMPUTE_32F_PEDANTIC = 69, COMPUTE_64F = 70,
    COMPUTE_64F_PEDANTIC = 71, COMPUTE_32F_FAST_16F = 74, COMPUTE_32F_FAST_16BF = 75, COMPUTE_32F_FAST_TF32 = 77
};
constexpr int TF32_TENSOR_OP_MATH = 3;

struct Handle {
    int device;
    CUstream stream;
    int math_mode = 0;
    int pointer_mode = 0;
    int atomics_mode = 0;
    void *workspace = nullptr;
    std::size_t workspace_bytes = 0;
};

bool number_of(int type, Number &number) {
    switch (type) {
    case 0: number = Number::f32; return true;
    case 1: number = Number::f64; return true;
    case 2: number = Number::f16; return true;
    case 14: number = Number::bf16; return true;
    default: return false;
    }
}

// How a float is rounded before it is multiplied.
enum class Rounding { none, tf32, f16, bf16 };

void round_all(std::vector<float> &values, Rounding rounding) {
    for (float &value : values) {
        if (rounding == Rounding::tf32) value = round_to_tf32(value);
        if (rounding == Rounding::f16) value = float(f16(value));
        if (rounding == Rounding::bf16) value = float(bf16(value));
    }
}
void round_all(std::vector<double> &, Rounding) {}

// C = alpha op(A) op(B) + beta C for each member of a batch, everything column-major.
struct Product {
    int op_a, op_b;
    std::size_t m, n, k;
    const void *a, *b;
    void *c;
    Number a_type, b_type, c_type;
    std::size_t lda, ldb, ldc;
    long long stride_a, stride_b, stride_c;
    int batch;
    double alpha, beta;
    Rounding rounding;
};

// op(matrix), rows x columns, as a row-major copy.
template <typename T>
std::vector<T> row_major(const void *matrix, Number type, std::size_t offset, int op, std::size_t rows,
                         std::size_t columns, std::size_t leading) {
    std::vector<T> copy(rows * columns);
    std::size_t row_stride = op == OP_N ? 1 : leading, column_stride = op == OP_N ? leading : 1;
    if (column_stride == 1) {
        for (std::size_t i = 0; i < rows; i++)
            read_row(matrix, type, offset + i * row_stride, 1, columns, &copy[i * columns]);
        return copy;
    }
    std::vector<T> column(rows);
    for (std::size_t j = 0; j < columns; j++) {
        read_row(matrix, type, offset + j * column_stride, std::ptrdiff_t(row_stride), rows, column.data());
        for (std::size_t i = 0; i < rows; i++) copy[i * columns + j] = column[i];
    }
    return copy;
}

template <typename T> void compute(const Product &p) {
    for (int l = 0; l < p.batch; l++) {
        // C's columns are contiguous, so the transposed product is computed: C^T = op(B)^T op(A)^T.
        std::vector<T> sums(p.m * p.n, T(0));
        if (p.k > 0 && p.alpha != 0) {
            auto a = row_major<T>(p.a, p.a_type, std::size_t(l * p.stride_a), p.op_a == OP_N ? OP_T : OP_N, p.k, p.m,
                                  p.lda);
            auto b = row_major<T>(p.b, p.b_type, std::size_t(l * p.stride_b), p.op_b == OP_N ? OP_T : OP_N, p.n, p.k,
                                  p.ldb);
            round_all(a, p.rounding);
            round_all(b, p.rounding);
            multiply(p.n, p.m, p.k, b.data(), p.k, 1, a.data(), p.m, sums.data(), p.m);
        }
        for (std::size_t j = 0; j < p.n; j++)
            write_row(p.c, p.c_type, std::size_t(l * p.stride_c) + j * p.ldc, 1, p.m, &sums[j * p.m], T(p.alpha),
                      T(p.beta));
    }
}

// Bytes from the first to behind the last element of a batch of column-major matrices.
std::size_t extent(std::size_t rows, std::size_t columns, std::size_t leading, long long stride, int batch,
                   Number type) {
    if (rows == 0 || columns == 0 || batch == 0) return 0;
    return (std::size_t(batch - 1) * std::size_t(stride) + (columns - 1) * leading + rows) * size_of(type);
}

bool overlap(const void *a, std::size_t a_bytes, const void *b, std::size_t b_bytes) {
    auto x = static_cast<const char *>(a), y = static_cast<const char *>(b);
    return x < y + b_bytes && y < x + a_bytes;
}

double scalar(const void *value, Number type) {
    double number;
    read_row(value, type, 0, 1, 1, &number);
    return number;
}

int gemm(Handle *handle, const char *name, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a,
         int a_type, int lda, long long stride_a, const void *b, int b_type, int ldb, long long stride_b,
         const void *beta, void *c, int c_type, int ldc, long long stride_c, int batch, int compute_type) {
    if (!handle) return NOT_INITIALIZED;
    Product p{};
    if (op_a < OP_N || op_a > OP_C || op_b < OP_N || op_b > OP_C || m < 0 || n < 0 || k < 0 || batch < 0 || !alpha ||
        !beta)
        return INVALID_VALUE;
    if (lda < std::max(1, op_a == OP_N ? m : k) || ldb < std::max(1, op_b == OP_N ? k : n) || ldc < std::max(1, m))
        return INVALID_VALUE;
    if (!number_of(a_type, p.a_type) || !number_of(b_type, p.b_type) || !number_of(c_type, p.c_type))
        return NOT_SUPPORTED;
    Number scalar_type = Number::f32;
    bool supported = p.a_type == p.b_type && (p.c_type == p.a_type || p.c_type == Number::f32) &&
                     p.a_type != Number::f64;
    switch (compute_type) {
    case COMPUTE_16F:
    case COMPUTE_16F_PEDANTIC:
        scalar_type = Number::f16;
        supported = supported && p.c_type == Number::f16;
        break;
    case COMPUTE_32F:
        if (handle->math_mode == TF32_TENSOR_OP_MATH) p.rounding = Rounding::tf32;
        break;
    case COMPUTE_32F_PEDANTIC: break;
    case COMPUTE_32F_FAST_16F:
    case COMPUTE_32F_FAST_16BF:
    case COMPUTE_32F_FAST_TF32:
        p.rounding = compute_type == COMPUTE_32F_FAST_16F    ? Rounding::f16
                     : compute_type == COMPUTE_32F_FAST_16BF ? Rounding::bf16
                                                             : Rounding::tf32;
        supported = supported && p.a_type == Number::f32 && p.c_type == Number::f32;
        break;
    case COMPUTE_64F:
    case COMPUTE_64F_PEDANTIC:
        scalar_type = Number::f64;
        supported = p.a_type == Number::f64 && p.b_type == Number::f64 && p.c_type == Number::f64;
        break;
    default: supported = false;
    }
    if (!supported) return NOT_SUPPORTED;
    const char *override = std::getenv("NVIDIA_TF32_OVERRIDE");
    if (p.rounding == Rounding::tf32 && override && override[0] == '0') p.rounding = Rounding::none;
    if (handle->pointer_mode != 0) fail("%s: scalars in device memory are not simulated", name);
    if (m == 0 || n == 0 || batch == 0) return SUCCESS;
    // A kernel can't be launched into a stream of another device than the current one.
    if (std::max(0, current_device()) != handle->device) return EXECUTION_FAILED;

    p.op_a = op_a, p.op_b = op_b;
    p.m = std::size_t(m), p.n = std::size_t(n), p.k = std::size_t(k);
    p.a = a, p.b = b, p.c = c;
    p.lda = std::size_t(lda), p.ldb = std::size_t(ldb), p.ldc = std::size_t(ldc);
    p.stride_a = stride_a, p.stride_b = stride_b, p.stride_c = stride_c;
    p.batch = batch;
    p.alpha = scalar(alpha, scalar_type), p.beta = scalar(beta, scalar_type);
    if (batch > 1 && (stride_a < 0 || stride_b < 0 || stride_c < 0))
        fail("%s: negative strides of a batch are not simulated", name);
    if (batch > 1 && stride_c < (long long)(p.n - 1) * ldc + m)
        fail("%s: the batch's results overlap (C's stride is %lld)", name, stride_c);

    std::size_t a_bytes = extent(op_a == OP_N ? p.m : p.k, op_a == OP_N ? p.k : p.m, p.lda, stride_a, batch, p.a_type);
    std::size_t b_bytes = extent(op_b == OP_N ? p.k : p.n, op_b == OP_N ? p.n : p.k, p.ldb, stride_b, batch, p.b_type);
    std::size_t c_bytes = extent(p.m, p.n, p.ldc, stride_c, batch, p.c_type);
    if (p.k > 0 && p.alpha != 0) {
        check_device_memory(a, a_bytes, handle->device, (std::string(name) + "'s A").c_str());
        check_device_memory(b, b_bytes, handle->device, (std::string(name) + "'s B").c_str());
        if (overlap(c, c_bytes, a, a_bytes) || overlap(c, c_bytes, b, b_bytes))
            fail("%s: C overlaps A or B", name);
    }
    check_device_memory(c, c_bytes, handle->device, (std::string(name) + "'s C").c_str());

    void *scratch = handle->workspace;
    std::size_t scratch_bytes = handle->workspace_bytes;
    enqueue(handle->stream, [=] {
        Workspace workspace(scratch, scratch_bytes, name);
        if (p.a_type == Number::f64)
            compute<double>(p);
        else
            compute<float>(p);
    });
    return SUCCESS;
}

} // namespace

extern "C" {

int cublasCreate_v2(Handle **handle) {
    if (!handle) return INVALID_VALUE;
    if (device_count() == 0) return NOT_INITIALIZED;
    *handle = new Handle{std::max(0, current_device()), resolve(nullptr)};
    return SUCCESS;
}

int cublasDestroy_v2(Handle *handle) {
    if (!handle) return NOT_INITIALIZED;
    // The real one waits for the whole device.
    synchronize(handle->stream);
    delete handle;
    return SUCCESS;
}

int cublasSetStream_v2(Handle *handle, CUstream stream) {
    if (!handle) return NOT_INITIALIZED;
    if (stream && device_of(stream) != handle->device) return INVALID_VALUE;
    handle->stream = resolve(stream);
    // As documented: a new stream takes the user's workspace away.
    handle->workspace = nullptr, handle->workspace_bytes = 0;
    return SUCCESS;
}

int cublasGetStream_v2(Handle *handle, CUstream *stream) {
    if (!handle) return NOT_INITIALIZED;
    if (!stream) return INVALID_VALUE;
    *stream = handle->stream;
    return SUCCESS;
}

int cublasSetWorkspace_v2(Handle *handle, void *workspace, std::size_t bytes) {
    if (!handle) return NOT_INITIALIZED;
    if (reinterpret_cast<std::uintptr_t>(workspace) % 256 != 0) return INVALID_VALUE;
    check_device_memory(workspace, bytes, handle->device, "cublasSetWorkspace's memory");
    handle->workspace = workspace, handle->workspace_bytes = bytes;
    return SUCCESS;
}

int cublasSetMathMode(Handle *handle, int mode) {
    if (!handle) return NOT_INITIALIZED;
    if (mode < 0 || (mode & 15) > 8) return INVALID_VALUE;
    handle->math_mode = mode & 15;
    return SUCCESS;
}

int cublasGetMathMode(Handle *handle, int *mode) {
    if (!handle) return NOT_INITIALIZED;
    if (!mode) return INVALID_VALUE;
    *mode = handle->math_mode;
    return SUCCESS;
}

int cublasSetPointerMode_v2(Handle *handle, int mode) {
    if (!handle) return NOT_INITIALIZED;
    if (mode != 0 && mode != 1) return INVALID_VALUE;
    handle->pointer_mode = mode;
    return SUCCESS;
}

int cublasGetPointerMode_v2(Handle *handle, int *mode) {
    if (!handle) return NOT_INITIALIZED;
    if (!mode) return INVALID_VALUE;
    *mode = handle->pointer_mode;
    return SUCCESS;
}

// Products repeat their results here in either mode.
int cublasSetAtomicsMode(Handle *handle, int mode) {
    if (!handle) return NOT_INITIALIZED;
    if (mode != 0 && mode != 1) return INVALID_VALUE;
    handle->atomics_mode = mode;
    return SUCCESS;
}

int cublasGetAtomicsMode(Handle *handle, int *mode) {
    if (!handle) return NOT_INITIALIZED;
    if (!mode) return INVALID_VALUE;
    *mode = handle->atomics_mode;
    return SUCCESS;
}

int cublasGetVersion_v2(Handle *, int *version) {
    if (!version) return INVALID_VALUE;
    *version = 130000;
    return SUCCESS;
}

const char *cublasGetStatusString(int status) {
    switch (status) {
    case SUCCESS: return "success";
    case NOT_INITIALIZED: return "the library was not initialized";
    case INVALID_VALUE: return "an invalid value was passed";
    case EXECUTION_FAILED: return "the GPU program failed to execute";
    case NOT_SUPPORTED: return "the requested functionality is not supported";
    default: return "an unknown status";
    }
}

int cublasGemmStridedBatchedEx(Handle *handle, int op_a, int op_b, int m, int n, int k, const void *alpha,
                               const void *a, int a_type, int lda, long long stride_a, const void *b, int b_type,
                               int ldb, long long stride_b, const void *beta, void *c, int c_type, int ldc,
                               long long stride_c, int batch, int compute_type, int) {
    return gemm(handle, "cublasGemmStridedBatchedEx", op_a, op_b, m, n, k, alpha, a, a_type, lda, stride_a, b, b_type,
                ldb, stride_b, beta, c, c_type, ldc, stride_c, batch, compute_type);
}

int cublasGemmEx(Handle *handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int a_type,
                 int lda, const void *b, int b_type, int ldb, const void *beta, void *c, int c_type, int ldc,
                 int compute_type, int) {
    return gemm(handle, "cublasGemmEx", op_a, op_b, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c,
                c_type, ldc, 0, 1, compute_type);
}

int cublasSgemm_v2(Handle *handle, int op_a, int op_b, int m, int n, int k, const float *alpha, const float *a, int lda,
                   const float *b, int ldb, const float *beta, float *c, int ldc) {
    return gemm(handle, "cublasSgemm", op_a, op_b, m, n, k, alpha, a, 0, lda, 0, b, 0, ldb, 0, beta, c, 0, ldc, 0, 1,
                COMPUTE_32F);
}

int cublasSgemmStridedBatched(Handle *handle, int op_a, int op_b, int m, int n, int k, const float *alpha,
                              const float *a, int lda, long long stride_a, const float *b, int ldb, long long stride_b,
                              const float *beta, float *c, int ldc, long long stride_c, int batch) {
    return gemm(handle, "cublasSgemmStridedBatched", op_a, op_b, m, n, k, alpha, a, 0, lda, stride_a, b, 0, ldb,
                stride_b, beta, c, 0, ldc, stride_c, batch, COMPUTE_32F);
}

int cublasDgemm_v2(Handle *handle, int op_a, int op_b, int m, int n, int k, const double *alpha, const double *a,
                   int lda, const double *b, int ldb, const double *beta, double *c, int ldc) {
    return gemm(handle, "cublasDgemm", op_a, op_b, m, n, k, alpha, a, 1, lda, 0, b, 1, ldb, 0, beta, c, 1, ldc, 0, 1,
                COMPUTE_64F);
}

int cublasDgemmStridedBatched(Handle *handle, int op_a, int op_b, int m, int n, int k, const double *alpha,
                              const double *a, int lda, long long stride_a, const double *b, int ldb,
                              long long stride_b, const double *beta, double *c, int ldc, long long stride_c,
                              int batch) {
    return gemm(handle, "cublasDgemmStridedBatched", op_a, op_b, m, n, k, alpha, a, 1, lda, stride_a, b, 1, ldb,
                stride_b, beta, c, 1, ldc, stride_c, batch, COMPUTE_64F);
}

} // extern "C"
