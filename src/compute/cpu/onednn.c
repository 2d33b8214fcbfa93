/* oneDNN's matrix product, behind the C interface of its versions 2 and 3 (3.0 removed operation descriptors).
 *
 * A primitive is asked for at each call: oneDNN keeps the last CACHED ones itself, and what is left of making one is
 * some microseconds beside a product of milliseconds. Debian's oneDNN runs on libgomp, as our own kernels do, so the
 * thread that calls has one team for both. SN_CPU caps it as well. */
#include "compute/cpu/onednn.h"

#include "base/cpu.h"

#ifdef SN_HAS_ONEDNN
#include <dnnl.h>
#include <omp.h>
#include <pthread.h>

enum { CACHED = 128 }; /* primitives that oneDNN keeps */

static dnnl_engine_t engine; /* made once, then constant; NULL where there is none */
static bool bf16;            /* likewise: CPUID in a virtual machine takes longer than a small product */

static void make_engine(void) {
    sn_cpu cpu = sn_cpu_features();
    if (cpu.level == SN_CPU_PLAIN) return;
    bf16 = cpu.avx512_bf16 || cpu.amx_bf16;
    if (cpu.level == SN_CPU_AVX2) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    else if (cpu.level == SN_CPU_AVX512) dnnl_set_max_cpu_isa(cpu.avx512_bf16 ? dnnl_cpu_isa_avx512_core_bf16 : dnnl_cpu_isa_avx512_core_vnni);
    dnnl_set_primitive_cache_capacity(CACHED);
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) engine = NULL;
}

bool sn_onednn_has(sn_type type) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_engine);
    return engine && (type == SN_TYPE_F32 || (type == SN_TYPE_BF16 && bf16));
}

/* The product's primitive; `add` as a sum behind it. */
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t description;
static bool describe(description *d, dnnl_data_type_t type, int64_t rows, int64_t columns, int64_t row, int64_t column) {
    return dnnl_memory_desc_create_with_strides(d, 2, (dnnl_dims_t){rows, columns}, type, (dnnl_dims_t){row, column}) == dnnl_success;
}
static void forget(description *d) {
    if (*d) dnnl_memory_desc_destroy(*d);
}
static dnnl_status_t plan(const description *d, dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out) {
    return dnnl_matmul_primitive_desc_create(out, engine, d[0], d[1], NULL, d[2], attributes);
}
static dnnl_status_t place(dnnl_memory_t *memory, const description *d, const void *data) {
    return dnnl_memory_create(memory, *d, engine, (void *)(uintptr_t)data);
}
static dnnl_status_t append_sum(dnnl_post_ops_t operations) { return dnnl_post_ops_append_sum(operations, 1, 0, dnnl_data_type_undef); }
#else
typedef dnnl_memory_desc_t description;
static bool describe(description *d, dnnl_data_type_t type, int64_t rows, int64_t columns, int64_t row, int64_t column) {
    return dnnl_memory_desc_init_by_strides(d, 2, (dnnl_dims_t){rows, columns}, type, (dnnl_dims_t){row, column}) == dnnl_success;
}
static void forget(description *d) { (void)d; }
static dnnl_status_t plan(const description *d, dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out) {
    dnnl_matmul_desc_t operation;
    dnnl_status_t status = dnnl_matmul_desc_init(&operation, &d[0], &d[1], NULL, &d[2]);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &operation, attributes, engine, NULL) : status;
}
static dnnl_status_t place(dnnl_memory_t *memory, const description *d, const void *data) {
    return dnnl_memory_create(memory, d, engine, (void *)(uintptr_t)data);
}
static dnnl_status_t append_sum(dnnl_post_ops_t operations) { return dnnl_post_ops_append_sum(operations, 1); }
#endif

static bool make_primitive(const description *d, bool add, dnnl_primitive_t *out) {
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_post_ops_t operations = NULL;
    dnnl_primitive_desc_t described = NULL;
    bool made = dnnl_primitive_attr_create(&attributes) == dnnl_success && dnnl_post_ops_create(&operations) == dnnl_success &&
                (!add || append_sum(operations) == dnnl_success) && dnnl_primitive_attr_set_post_ops(attributes, operations) == dnnl_success &&
                plan(d, attributes, &described) == dnnl_success && dnnl_primitive_create(out, described) == dnnl_success;
    if (described) dnnl_primitive_desc_destroy(described);
    if (operations) dnnl_post_ops_destroy(operations);
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    return made;
}

bool sn_onednn_multiply(sn_type type, int64_t m, int64_t n, int64_t k, sn_dense a, sn_dense b, float *c, int64_t c_stride, bool add,
                        int threads) {
    dnnl_data_type_t element = type == SN_TYPE_BF16 ? dnnl_bf16 : dnnl_f32;
    description d[3] = {0};
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t memory[3] = {NULL};
    dnnl_stream_t stream = NULL;
    const void *data[3] = {a.data, b.data, c};
    static const int names[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    omp_set_num_threads(threads);
    bool good = describe(&d[0], element, m, k, a.row, a.column) && describe(&d[1], element, k, n, b.row, b.column) &&
                describe(&d[2], dnnl_f32, m, n, c_stride, 1) && make_primitive(d, add, &primitive) &&
                dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success;
    dnnl_exec_arg_t arguments[3];
    for (int i = 0; i < 3; i++) {
        good = good && place(&memory[i], &d[i], data[i]) == dnnl_success;
        arguments[i] = (dnnl_exec_arg_t){names[i], memory[i]};
    }
    good = good && dnnl_primitive_execute(primitive, stream, 3, arguments) == dnnl_success && dnnl_stream_wait(stream) == dnnl_success;
    for (int i = 0; i < 3; i++) {
        if (memory[i]) dnnl_memory_destroy(memory[i]);
        forget(&d[i]);
    }
    if (stream) dnnl_stream_destroy(stream);
    if (primitive) dnnl_primitive_destroy(primitive);
    return good;
}

#else

bool sn_onednn_has(sn_type type) { return false; }
bool sn_onednn_multiply(sn_type type, int64_t m, int64_t n, int64_t k, sn_dense a, sn_dense b, float *c, int64_t c_stride, bool add,
                        int threads) {
    return false;
}

#endif
