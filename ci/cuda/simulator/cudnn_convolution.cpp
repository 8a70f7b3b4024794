// The simulated cuDNN's convolutions: checks of the arguments, choice of algorithms and workspaces, and the calls. All
// algorithms compute the same sums (cudnn_compute.cpp); those that are marked as not deterministic add in another order
// at every call.
#include "cudnn.h"
#include "workspace.h"
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

using namespace cudnn;

namespace {

// An algorithm of the real library. The first of a direction is reported as the fastest. It doesn't repeat its results,
// so that code which wants determinism must look for it. (The real forward algorithms all repeat theirs; the interface
// doesn't promise it.)
struct Algorithm {
    int number;
    Determinism determinism;
    enum { ANY, WINOGRAD, NONE } shapes; // what it supports
    enum { EMPTY, INDICES, UNFOLDED } workspace;
};

const std::vector<Algorithm> &algorithms(Direction direction) {
    using A = Algorithm;
    static const std::vector<A> forward = {
        {2, NON_DETERMINISTIC, A::ANY, A::UNFOLDED}, // GEMM
        {1, DETERMINISTIC, A::ANY, A::INDICES},      // IMPLICIT_PRECOMP_GEMM
        {7, DETERMINISTIC, A::WINOGRAD, A::UNFOLDED}, // WINOGRAD_NONFUSED
        {0, DETERMINISTIC, A::ANY, A::EMPTY},        // IMPLICIT_GEMM
        {4, DETERMINISTIC, A::NONE, A::EMPTY}, {5, DETERMINISTIC, A::NONE, A::EMPTY},
        {6, DETERMINISTIC, A::NONE, A::EMPTY}, {3, DETERMINISTIC, A::NONE, A::EMPTY}};
    static const std::vector<A> data = {
        {0, NON_DETERMINISTIC, A::ANY, A::EMPTY},     // ALGO_0
        {5, DETERMINISTIC, A::WINOGRAD, A::UNFOLDED}, // WINOGRAD_NONFUSED
        {1, DETERMINISTIC, A::ANY, A::INDICES},       // ALGO_1
        {2, DETERMINISTIC, A::NONE, A::EMPTY}, {3, DETERMINISTIC, A::NONE, A::EMPTY},
        {4, DETERMINISTIC, A::NONE, A::EMPTY}};
    static const std::vector<A> filter = {
        {3, NON_DETERMINISTIC, A::ANY, A::INDICES}, // ALGO_3
        {1, DETERMINISTIC, A::ANY, A::UNFOLDED},    // ALGO_1
        {0, NON_DETERMINISTIC, A::ANY, A::EMPTY},   // ALGO_0
        {5, DETERMINISTIC, A::WINOGRAD, A::INDICES}, // WINOGRAD_NONFUSED
        {2, DETERMINISTIC, A::NONE, A::EMPTY}, {4, DETERMINISTIC, A::NONE, A::EMPTY},
        {6, DETERMINISTIC, A::NONE, A::EMPTY}};
    return direction == Direction::forward ? forward : direction == Direction::backward_data ? data : filter;
}

// What Get and Find answer, the same for the three directions (cudnnConvolutionFwdAlgoPerf_t and its brothers).
struct Performance {
    int algorithm;
    int status;
    float milliseconds;
    std::size_t memory;
    int determinism;
    int math;
    int reserved[3];
};

int out_size(const Tensor &x, const Filter &w, const Convolution &c, int axis) {
    int seen = (w.sizes[axis + 2] - 1) * c.dilation[axis] + 1;
    return (x.sizes[axis + 2] + 2 * c.padding[axis] - seen) / c.stride[axis] + 1;
}

bool kernel_fits(const Tensor &x, const Filter &w, const Convolution &c) {
    for (int axis = 0; axis < c.dimensions; axis++)
        if (x.sizes[axis + 2] + 2 * c.padding[axis] < (w.sizes[axis + 2] - 1) * c.dilation[axis] + 1) return false;
    return true;
}

Status describe(const Tensor *x, const Filter *w, const Convolution *c, const Tensor *y, Problem &problem) {
    if (!x || !w || !c || !y) return BAD_PARAM_NULL_POINTER;
    if (x->type < 0 || w->type < 0 || y->type < 0 || c->dimensions == 0) return BAD_PARAM;
    if (x->dimensions != w->dimensions || x->dimensions != y->dimensions || x->dimensions != c->dimensions + 2)
        return BAD_PARAM;
    if (x->dimensions != 4) return NOT_SUPPORTED; // of this simulation: two spatial dimensions only
    if (x->sizes[0] != y->sizes[0] || x->sizes[1] != w->sizes[1] * c->groups || y->sizes[1] != w->sizes[0] ||
        w->sizes[0] % c->groups != 0 || !kernel_fits(*x, *w, *c) || y->sizes[2] != out_size(*x, *w, *c, 0) ||
        y->sizes[3] != out_size(*x, *w, *c, 1))
        return BAD_PARAM;
    if (!number_of(x->type, problem.x_type) || !number_of(w->type, problem.w_type) ||
        !number_of(y->type, problem.y_type) || x->type != w->type || x->type != y->type)
        return NOT_SUPPORTED;
    if (c->compute_type != DATA_FLOAT && !(c->compute_type == DATA_HALF && x->type == DATA_HALF)) return NOT_SUPPORTED;
    // Channels-last data needs a channels-last filter, and the other way round.
    for (const Tensor *tensor : {x, y})
        if (w->format == NHWC ? !tensor->packed(NHWC) : tensor->packed(NHWC) && !tensor->packed(NCHW))
            return NOT_SUPPORTED;
    problem.x = *x, problem.w = *w, problem.y = *y, problem.convolution = *c;
    // From Ampere on, only FMA math keeps all bits of f32 data.
    const char *override = std::getenv("NVIDIA_TF32_OVERRIDE");
    problem.tf32 = x->type == DATA_FLOAT && c->math != FMA_MATH && !(override && override[0] == '0');
    return SUCCESS;
}

bool supports(const Algorithm &algorithm, const Problem &p) {
    if (algorithm.shapes != Algorithm::WINOGRAD) return algorithm.shapes == Algorithm::ANY;
    int size = p.w.sizes[2];
    const Convolution &c = p.convolution;
    return size == p.w.sizes[3] && (size == 3 || size == 5) && c.stride[0] == 1 && c.stride[1] == 1 &&
           c.dilation[0] == 1 && c.dilation[1] == 1 && c.groups == 1;
}

std::size_t workspace_bytes(const Algorithm &algorithm, const Problem &p) {
    std::size_t pixels = std::size_t(p.y.sizes[2]) * std::size_t(p.y.sizes[3]),
                kernel = std::size_t(p.w.sizes[2]) * std::size_t(p.w.sizes[3]), bytes = 0;
    switch (algorithm.workspace) {
    case Algorithm::EMPTY: return 0;
    case Algorithm::INDICES: bytes = 4 * pixels + 16 * kernel; break;
    case Algorithm::UNFOLDED: bytes = simulator::size_of(p.x_type) * pixels * kernel * std::size_t(p.x.sizes[1]); break;
    }
    // What is reported of one math type is not true of another.
    return p.convolution.math == FMA_MATH ? bytes : bytes + 64;
}

const Algorithm *find(Direction direction, int number) {
    for (const Algorithm &algorithm : algorithms(direction))
        if (algorithm.number == number) return &algorithm;
    return nullptr;
}

int get_workspace(Direction direction, const Handle *handle, const Tensor *x, const Filter *w, const Convolution *c,
                  const Tensor *y, int number, std::size_t *bytes) {
    if (!handle || !bytes) return BAD_PARAM_NULL_POINTER;
    Problem problem;
    if (Status status = describe(x, w, c, y, problem)) return status;
    const Algorithm *algorithm = find(direction, number);
    if (!algorithm) return BAD_PARAM;
    if (!supports(*algorithm, problem)) return NOT_SUPPORTED;
    *bytes = workspace_bytes(*algorithm, problem);
    return SUCCESS;
}

int get_algorithms(Direction direction, const Handle *handle, const Tensor *x, const Filter *w, const Convolution *c,
                   const Tensor *y, int requested, int *returned, Performance *results) {
    if (!handle || !returned || !results) return BAD_PARAM_NULL_POINTER;
    if (requested < 1) return BAD_PARAM;
    Problem problem;
    if (Status status = describe(x, w, c, y, problem)) return status;
    std::vector<Performance> all;
    // Each with two math types, also with one that was not asked for, so that code must look for it. (The documentation
    // does not say that the real library reports only what the descriptor allows.)
    MathType matrices = x->type == DATA_FLOAT ? DEFAULT_MATH : TENSOR_OP_MATH;
    for (bool supported : {true, false}) // those that can't be used come last, with their status
        for (const Algorithm &algorithm : algorithms(direction))
            for (MathType math : {matrices, FMA_MATH}) {
                if (supports(algorithm, problem) != supported) continue;
                problem.convolution.math = math;
                Performance one{};
                one.algorithm = algorithm.number;
                one.status = supported ? SUCCESS : NOT_SUPPORTED;
                one.milliseconds = supported ? 0.1f * float(all.size() + 1) : -1.0f;
                one.memory = supported ? workspace_bytes(algorithm, problem) : 0;
                one.determinism = algorithm.determinism;
                one.math = math;
                all.push_back(one);
            }
    *returned = std::min(requested, int(all.size()));
    std::copy(all.begin(), all.begin() + *returned, results);
    return SUCCESS;
}

// A piece of device memory that a call uses.
struct Memory {
    const char *name;
    const void *start;
    std::size_t bytes;
};

void check_memory(const char *function, int device, const std::vector<Memory> &memory) {
    for (const Memory &piece : memory)
        simulator::check_device_memory(piece.start, piece.bytes, device,
                                       (std::string(function) + "'s " + piece.name).c_str());
    // The output is the first, the workspace the last: neither may overlap another.
    for (std::size_t i = 0; i < memory.size(); i++)
        for (std::size_t j = i + 1; j < memory.size(); j++) {
            if ((i != 0 && j != memory.size() - 1) || memory[j].bytes == 0) continue;
            auto a = static_cast<const char *>(memory[i].start), b = static_cast<const char *>(memory[j].start);
            if (a < b + memory[j].bytes && b < a + memory[i].bytes)
                simulator::fail("%s: the memory of %s and of %s overlaps", function, memory[i].name, memory[j].name);
        }
}

// x, w and y are the data or, of the one that `direction` computes, the output.
int convolve(Direction direction, const char *function, const Handle *handle, const void *alpha, const Tensor *x,
             const void *x_data, const Filter *w, const void *w_data, const Convolution *c, int number,
             void *workspace, std::size_t workspace_size, const void *beta, const Tensor *y, const void *y_data) {
    if (!handle || !alpha || !beta || !x_data || !w_data || !y_data) return BAD_PARAM_NULL_POINTER;
    Problem problem;
    if (Status status = describe(x, w, c, y, problem)) return status;
    const Algorithm *algorithm = find(direction, number);
    if (!algorithm) return BAD_PARAM;
    if (!supports(*algorithm, problem)) return NOT_SUPPORTED;
    if (!workspace) workspace_size = 0;
    if (workspace_size < workspace_bytes(*algorithm, problem)) return BAD_PARAM;
    // A kernel can't be launched into a stream of another device than the current one.
    if (std::max(0, simulator::current_device()) != handle->device) return EXECUTION_FAILED;

    Memory x_memory{"x", x_data, x->elements_spanned() * simulator::size_of(problem.x_type)};
    Memory y_memory{"y", y_data, y->elements_spanned() * simulator::size_of(problem.y_type)};
    Memory w_memory{"w", w_data, w->elements() * simulator::size_of(problem.w_type)};
    Memory scratch{"workspace", workspace, workspace_size};
    std::vector<Memory> memory = {y_memory, x_memory, w_memory, scratch};
    if (direction == Direction::backward_data) memory = std::vector<Memory>{x_memory, w_memory, y_memory, scratch};
    if (direction == Direction::backward_filter) memory = std::vector<Memory>{w_memory, x_memory, y_memory, scratch};
    check_memory(function, handle->device, memory);

    static std::atomic<std::size_t> calls{0};
    std::size_t turn = algorithm->determinism == DETERMINISTIC ? 0 : calls.fetch_add(1) + 1;
    float a = *static_cast<const float *>(alpha), b = *static_cast<const float *>(beta);
    void *out = const_cast<void *>(memory[0].start);
    const void *first = memory[1].start, *second = memory[2].start;
    simulator::enqueue(handle->stream, [=] {
        simulator::Workspace marked(workspace, workspace_size, function);
        run(direction, problem, a, first, second, b, out, turn);
    });
    return SUCCESS;
}

// Like get_algorithms, but only what runs in the workspace, after having run it: the output is overwritten.
int find_algorithms(Direction direction, const char *function, const Handle *handle, const Tensor *x,
                    const void *x_data, const Filter *w, const void *w_data, const Convolution *c, const Tensor *y,
                    const void *y_data, int requested, int *returned, Performance *results, void *workspace,
                    std::size_t workspace_size) {
    int count = 0, kept = 0;
    std::vector<Performance> all(2 * algorithms(direction).size()); // two math types
    if (!results || !returned) return BAD_PARAM_NULL_POINTER;
    if (requested < 1) return BAD_PARAM;
    if (int status = get_algorithms(direction, handle, x, w, c, y, int(all.size()), &count, all.data())) return status;
    for (int i = 0; i < count && kept < requested; i++) {
        if (all[std::size_t(i)].memory > (workspace ? workspace_size : 0)) continue;
        if (all[std::size_t(i)].status == SUCCESS) {
            float one = 1, zero = 0;
            Convolution measured = *c;
            measured.math = MathType(all[std::size_t(i)].math);
            if (int status = convolve(direction, function, handle, &one, x, x_data, w, w_data, &measured,
                                      all[std::size_t(i)].algorithm, workspace, workspace_size, &zero, y, y_data))
                return status;
            simulator::synchronize(handle->stream);
        }
        results[kept++] = all[std::size_t(i)];
    }
    *returned = kept;
    return SUCCESS;
}

} // namespace

extern "C" {

int cudnnGetConvolution2dForwardOutputDim(const Convolution *c, const Tensor *x, const Filter *w, int *n, int *k,
                                          int *height, int *width) {
    if (!c || !x || !w || !n || !k || !height || !width) return BAD_PARAM_NULL_POINTER;
    if (c->dimensions != 2 || x->dimensions != 4 || w->dimensions != 4 || x->sizes[1] != w->sizes[1] * c->groups ||
        !kernel_fits(*x, *w, *c))
        return BAD_PARAM;
    *n = x->sizes[0], *k = w->sizes[0], *height = out_size(*x, *w, *c, 0), *width = out_size(*x, *w, *c, 1);
    return SUCCESS;
}

int cudnnGetConvolutionForwardAlgorithmMaxCount(Handle *handle, int *count) {
    if (!handle || !count) return BAD_PARAM_NULL_POINTER;
    *count = 2 * int(algorithms(Direction::forward).size());
    return SUCCESS;
}

int cudnnGetConvolutionBackwardDataAlgorithmMaxCount(Handle *handle, int *count) {
    if (!handle || !count) return BAD_PARAM_NULL_POINTER;
    *count = 2 * int(algorithms(Direction::backward_data).size());
    return SUCCESS;
}

int cudnnGetConvolutionBackwardFilterAlgorithmMaxCount(Handle *handle, int *count) {
    if (!handle || !count) return BAD_PARAM_NULL_POINTER;
    *count = 2 * int(algorithms(Direction::backward_filter).size());
    return SUCCESS;
}

int cudnnGetConvolutionForwardAlgorithm_v7(Handle *handle, const Tensor *x, const Filter *w, const Convolution *c,
                                           const Tensor *y, int requested, int *returned, Performance *results) {
    return get_algorithms(Direction::forward, handle, x, w, c, y, requested, returned, results);
}

int cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle *handle, const Filter *w, const Tensor *dy, const Convolution *c,
                                                const Tensor *dx, int requested, int *returned, Performance *results) {
    return get_algorithms(Direction::backward_data, handle, dx, w, c, dy, requested, returned, results);
}

int cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle *handle, const Tensor *x, const Tensor *dy,
                                                  const Convolution *c, const Filter *dw, int requested, int *returned,
                                                  Performance *results) {
    return get_algorithms(Direction::backward_filter, handle, x, dw, c, dy, requested, returned, results);
}

int cudnnFindConvolutionForwardAlgorithmEx(Handle *handle, const Tensor *x, const void *x_data, const Filter *w,
                                           const void *w_data, const Convolution *c, const Tensor *y, void *y_data,
                                           int requested, int *returned, Performance *results, void *workspace,
                                           std::size_t bytes) {
    return find_algorithms(Direction::forward, "cudnnFindConvolutionForwardAlgorithmEx", handle, x, x_data, w, w_data,
                           c, y, y_data, requested, returned, results, workspace, bytes);
}

int cudnnFindConvolutionBackwardDataAlgorithmEx(Handle *handle, const Filter *w, const void *w_data, const Tensor *dy,
                                                const void *dy_data, const Convolution *c, const Tensor *dx,
                                                void *dx_data, int requested, int *returned, Performance *results,
                                                void *workspace, std::size_t bytes) {
    return find_algorithms(Direction::backward_data, "cudnnFindConvolutionBackwardDataAlgorithmEx", handle, dx, dx_data,
                           w, w_data, c, dy, dy_data, requested, returned, results, workspace, bytes);
}

int cudnnFindConvolutionBackwardFilterAlgorithmEx(Handle *handle, const Tensor *x, const void *x_data, const Tensor *dy,
                                                  const void *dy_data, const Convolution *c, const Filter *dw,
                                                  void *dw_data, int requested, int *returned, Performance *results,
                                                  void *workspace, std::size_t bytes) {
    return find_algorithms(Direction::backward_filter, "cudnnFindConvolutionBackwardFilterAlgorithmEx", handle, x,
                           x_data, dw, dw_data, c, dy, dy_data, requested, returned, results, workspace, bytes);
}

int cudnnGetConvolutionForwardWorkspaceSize(Handle *handle, const Tensor *x, const Filter *w, const Convolution *c,
                                            const Tensor *y, int algorithm, std::size_t *bytes) {
    return get_workspace(Direction::forward, handle, x, w, c, y, algorithm, bytes);
}

int cudnnGetConvolutionBackwardDataWorkspaceSize(Handle *handle, const Filter *w, const Tensor *dy,
                                                 const Convolution *c, const Tensor *dx, int algorithm,
                                                 std::size_t *bytes) {
    return get_workspace(Direction::backward_data, handle, dx, w, c, dy, algorithm, bytes);
}

int cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle *handle, const Tensor *x, const Tensor *dy,
                                                   const Convolution *c, const Filter *dw, int algorithm,
                                                   std::size_t *bytes) {
    return get_workspace(Direction::backward_filter, handle, x, dw, c, dy, algorithm, bytes);
}

int cudnnConvolutionForward(Handle *handle, const void *alpha, const Tensor *x, const void *x_data, const Filter *w,
                            const void *w_data, const Convolution *c, int algorithm, void *workspace, std::size_t bytes,
                            const void *beta, const Tensor *y, void *y_data) {
    return convolve(Direction::forward, "cudnnConvolutionForward", handle, alpha, x, x_data, w, w_data, c, algorithm,
                    workspace, bytes, beta, y, y_data);
}

int cudnnConvolutionBackwardData(Handle *handle, const void *alpha, const Filter *w, const void *w_data,
                                 const Tensor *dy, const void *dy_data, const Convolution *c, int algorithm,
                                 void *workspace, std::size_t bytes, const void *beta, const Tensor *dx,
                                 void *dx_data) {
    return convolve(Direction::backward_data, "cudnnConvolutionBackwardData", handle, alpha, dx, dx_data, w, w_data, c,
                    algorithm, workspace, bytes, beta, dy, dy_data);
}

int cudnnConvolutionBackwardFilter(Handle *handle, const void *alpha, const Tensor *x, const void *x_data,
                                   const Tensor *dy, const void *dy_data, const Convolution *c, int algorithm,
                                   void *workspace, std::size_t bytes, const void *beta, const Filter *dw,
                                   void *dw_data) {
    return convolve(Direction::backward_filter, "cudnnConvolutionBackwardFilter", handle, alpha, x, x_data, dw, dw_data,
                    c, algorithm, workspace, bytes, beta, dy, dy_data);
}

int cudnnConvolutionBackwardBias(Handle *handle, const void *alpha, const Tensor *dy, const void *dy_data,
                                 const void *beta, const Tensor *db, void *db_data) {
    if (!handle || !alpha || !beta || !dy || !db || !dy_data || !db_data) return BAD_PARAM_NULL_POINTER;
    simulator::Number type;
    if (dy->type < 0 || db->type != dy->type || db->dimensions != dy->dimensions) return BAD_PARAM;
    for (int i = 0; i < db->dimensions; i++)
        if (db->sizes[i] != (i == 1 ? dy->sizes[1] : 1)) return BAD_PARAM;
    if (!number_of(dy->type, type) || dy->dimensions != 4) return NOT_SUPPORTED;
    if (std::max(0, simulator::current_device()) != handle->device) return EXECUTION_FAILED;
    check_memory("cudnnConvolutionBackwardBias", handle->device,
                 {{"db", db_data, db->elements_spanned() * simulator::size_of(type)},
                  {"dy", dy_data, dy->elements_spanned() * simulator::size_of(type)}});
    float a = *static_cast<const float *>(alpha), b = *static_cast<const float *>(beta);
    Tensor from = *dy, to = *db;
    simulator::enqueue(handle->stream, [=] {
        auto width = std::size_t(from.sizes[3]);
        std::vector<double> row(width);
        for (int c = 0; c < from.sizes[1]; c++) {
            double sum = 0;
            for (int n = 0; n < from.sizes[0]; n++)
                for (int h = 0; h < from.sizes[2]; h++) {
                    auto first = n * from.strides[0] + c * from.strides[1] + h * from.strides[2];
                    simulator::read_row(dy_data, type, std::size_t(first), from.strides[3], width, row.data());
                    for (double value : row) sum += value;
                }
            auto value = float(sum);
            simulator::write_row(db_data, type, std::size_t(c * to.strides[1]), 1, 1, &value, a, b);
        }
    });
    return SUCCESS;
}

} // extern "C"
