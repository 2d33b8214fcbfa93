/* MPI behind a dozen functions. Whether other processes were started beside this one is told by the environment that their
 * launchers leave; a program that was started alone never initialises MPI, which would cost it a tenth of a second. */
#include "train/ranks.h"

#include "base/cpu.h"
#include "base/memory.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A number that a launcher left, or 0. */
static int launched(void) {
    static const char *const counts[] = {"OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "PMI_SIZE", "MPI_LOCALNRANKS"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (getenv(counts[i])) return atoi(getenv(counts[i]));
    return 0;
}

#ifdef SN_HAS_MPI

#include <mpi.h>

struct sn_ranks {
    int rank, count, local; /* local: those on this machine */
    bool broken;            /* something could not be sent */
    MPI_Comm comm;
    /* a sum that was begun */
    MPI_Request sum;
    float *values, *parts; /* what is summed; everybody's part of one's own piece, one behind the other */
    size_t capacity;       /* of parts */
    int *layout;           /* [3 count]: where each piece begins; one's own piece's size, so often; where each part begins */
};

static sn_status sent(sn_ranks *r, int code, sn_error *error) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS) return SN_OK;
    r->broken = true;
    MPI_Error_string(code, text, &length);
    return sn_fail(error, SN_ERROR_IO, "process %d of %d lost touch with the others: %s", r->rank, r->count, text);
}

sn_status sn_ranks_open(sn_ranks **out, sn_error *error) {
    *out = NULL;
    if (launched() < 2) return SN_OK;
    sn_ranks *r = sn_alloc(1, sizeof *r);
    int provided = 0, *layout = sn_alloc(3 * (size_t)launched(), sizeof *layout);
    if (!r || !layout) {
        sn_free(r);
        sn_free(layout);
        return sn_fail_memory(error);
    }
    r->layout = layout;
    MPI_Comm machine;
    bool ok = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided) == MPI_SUCCESS && MPI_Comm_dup(MPI_COMM_WORLD, &r->comm) == MPI_SUCCESS;
    if (ok) {
        MPI_Comm_set_errhandler(r->comm, MPI_ERRORS_RETURN);
        MPI_Comm_rank(r->comm, &r->rank);
        MPI_Comm_size(r->comm, &r->count);
        MPI_Comm_split_type(r->comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
        MPI_Comm_size(machine, &r->local);
        MPI_Comm_free(&machine);
    }
    if (!ok || provided < MPI_THREAD_SERIALIZED || r->count != launched()) {
        int count = r->count;
        sn_free(layout);
        sn_free(r);
        return sn_fail(error, SN_ERROR_SUPPORT, "found %d processes that were started together, MPI joins %d (threads: level %d); start them by the mpirun, or `srun --mpi=pmix`, of the MPI that this program was built with",
                       launched(), count, provided);
    }
    *out = r;
    return SN_OK;
}

/* A process that lost the others does not wait for them: that it ends without a goodbye tells what started them. */
void sn_ranks_close(sn_ranks *r) {
    if (!r) return;
    if (!r->broken) {
        MPI_Comm_free(&r->comm);
        MPI_Finalize();
    }
    sn_free(r->parts);
    sn_free(r->layout);
    sn_free(r);
}

static int local_count(const sn_ranks *r) { return r->local; }

static sn_status wire_least(sn_ranks *r, int64_t *values, int count, sn_error *error) { return sent(r, MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_INT64_T, MPI_MIN, r->comm), error); }
static sn_status wire_sum(sn_ranks *r, double *values, int count, sn_error *error) { return sent(r, MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_SUM, r->comm), error); }
static sn_status wire_send(sn_ranks *r, void *bytes, int count, int from, sn_error *error) { return sent(r, MPI_Bcast(bytes, count, MPI_BYTE, from, r->comm), error); }
static sn_status wire_numbers(sn_ranks *r, int64_t own, int64_t *all, sn_error *error) { return sent(r, MPI_Allgather(&own, 1, MPI_INT64_T, all, 1, MPI_INT64_T, r->comm), error); }

static sn_status wire_join(sn_ranks *r, const void *own, void *all, const int *pieces, const int *at, bool floats, sn_error *error) {
    MPI_Datatype type = floats ? MPI_FLOAT : MPI_BYTE;
    return sent(r, MPI_Allgatherv(own, pieces[r->rank], type, all, pieces, at, type, r->comm), error);
}

static sn_status wire_sum_pieces(sn_ranks *r, const float *values, float *own, const int *pieces, sn_error *error) {
    return sent(r, MPI_Reduce_scatter(values, own, pieces, MPI_FLOAT, MPI_SUM, r->comm), error);
}

/* Everybody's part of each piece goes to its owner, who adds them up. Each sends and receives its share of the values once; Open MPI's
 * own MPI_Ireduce_scatter (4.1) sends them whole along a tree to one process and from there to all. */
sn_status sn_ranks_sum_begin(sn_ranks *r, float *values, const int *pieces, sn_error *error) {
    int own = pieces[r->rank], *at = r->layout, *sizes = at + r->count, *begins = sizes + r->count;
    size_t wanted = (size_t)own * (size_t)r->count + 1;
    if (wanted > r->capacity) {
        sn_free(r->parts);
        r->parts = sn_alloc(wanted, sizeof *r->parts), r->capacity = r->parts ? wanted : 0;
    }
    if (!r->parts) {
        r->broken = true;
        return sn_fail_memory(error);
    }
    for (int i = 0; i < r->count; i++) at[i] = i ? at[i - 1] + pieces[i - 1] : 0, sizes[i] = own, begins[i] = i * own;
    r->values = values;
    return sent(r, MPI_Ialltoallv(values, pieces, at, MPI_FLOAT, r->parts, sizes, begins, MPI_FLOAT, r->comm, &r->sum), error);
}

sn_status sn_ranks_sum_test(sn_ranks *r, bool *done, sn_error *error) {
    int flag = 0;
    int64_t own = r->layout[r->count];
    sn_status status = sent(r, MPI_Test(&r->sum, &flag, MPI_STATUS_IGNORE), error);
    *done = flag != 0;
    if (status || !flag) return status;
    memcpy(r->values, r->parts, (size_t)own * sizeof *r->values);
    for (int k = 1; k < r->count; k++)
        for (int64_t i = 0; i < own; i++) r->values[i] += r->parts[k * own + i];
    return SN_OK;
}

sn_status sn_ranks_spread(sn_ranks *r, float *values, const int *pieces, const int *at, sn_error *error) {
    return sent(r, MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, pieces, at, MPI_FLOAT, r->comm), error);
}

sn_status sn_ranks_collect(sn_ranks *r, const float *own, float *whole, const int *pieces, const int *at, sn_error *error) {
    return sent(r, MPI_Gatherv(own, pieces[r->rank], MPI_FLOAT, whole, pieces, at, MPI_FLOAT, 0, r->comm), error);
}

#else /* one process: nothing below is ever called, since there is no handle */

struct sn_ranks {
    int rank, count;
    bool broken;
};

static sn_status nobody(sn_error *error) { return sn_fail(error, SN_ERROR_SUPPORT, "this build trains in one process: it has no MPI"); }

sn_status sn_ranks_open(sn_ranks **out, sn_error *error) {
    *out = NULL;
    return launched() < 2 ? SN_OK : sn_fail(error, SN_ERROR_SUPPORT, "found %d processes that were started together; this build has no MPI and trains in one", launched());
}

void sn_ranks_close(sn_ranks *r) { (void)r; }
static int local_count(const sn_ranks *r) { return (void)r, 1; }
static sn_status wire_least(sn_ranks *r, int64_t *values, int count, sn_error *error) { return nobody(error); }
static sn_status wire_sum(sn_ranks *r, double *values, int count, sn_error *error) { return nobody(error); }
static sn_status wire_send(sn_ranks *r, void *bytes, int count, int from, sn_error *error) { return nobody(error); }
static sn_status wire_numbers(sn_ranks *r, int64_t own, int64_t *all, sn_error *error) { return nobody(error); }
static sn_status wire_join(sn_ranks *r, const void *own, void *all, const int *pieces, const int *at, bool floats, sn_error *error) { return nobody(error); }
static sn_status wire_sum_pieces(sn_ranks *r, const float *values, float *own, const int *pieces, sn_error *error) { return nobody(error); }
sn_status sn_ranks_sum_begin(sn_ranks *r, float *values, const int *pieces, sn_error *error) { return nobody(error); }
sn_status sn_ranks_sum_test(sn_ranks *r, bool *done, sn_error *error) { return nobody(error); }
sn_status sn_ranks_spread(sn_ranks *r, float *values, const int *pieces, const int *at, sn_error *error) { return nobody(error); }
sn_status sn_ranks_collect(sn_ranks *r, const float *own, float *whole, const int *pieces, const int *at, sn_error *error) { return nobody(error); }

#endif

/* ---- what is made of them ---- */

int sn_ranks_rank(const sn_ranks *r) { return r ? r->rank : 0; }
int sn_ranks_count(const sn_ranks *r) { return r ? r->count : 1; }

bool sn_ranks_agreed(const sn_ranks *r) { return !r || !r->broken; }

/* Launchers often give each process processors of its own. Where they do not, those of the machine are shared out. */
int sn_ranks_threads(const sn_ranks *r, int asked) {
    int usable = sn_cpu_count(), local = r ? local_count(r) : 1;
    if (asked > 0 || !r) return asked;
    bool own = (int64_t)usable * local <= sysconf(_SC_NPROCESSORS_ONLN);
    return own ? usable : usable / local > 0 ? usable / local : 1;
}

sn_status sn_ranks_agree(sn_ranks *r, sn_status status, bool *flags, int num_flags, sn_error *error) {
    if (!r || r->broken) return status;
    int64_t votes[1 + SN_RANKS_FLAGS] = {status ? r->rank : INT64_MAX};
    struct { sn_status status; char message[sizeof error->message]; } word = {.status = status};
    for (int i = 0; i < num_flags; i++) votes[1 + i] = flags[i] ? 0 : 1;
    sn_error lost = {0};
    if (wire_least(r, votes, 1 + num_flags, &lost)) return status ? status : sn_fail(error, lost.status, "%s", lost.message);
    for (int i = 0; i < num_flags; i++) flags[i] = votes[1 + i] == 0;
    if (votes[0] == INT64_MAX) return SN_OK;
    if (status) memcpy(word.message, error->message, sizeof word.message);
    if (wire_send(r, &word, sizeof word, (int)votes[0], error)) return SN_ERROR_IO;
    word.message[sizeof word.message - 1] = 0;
    sn_fail(error, word.status, "%s", word.message);
    return votes[0] ? sn_fail_prefix(error, "process %d", (int)votes[0]) : word.status;
}

sn_status sn_ranks_sum(sn_ranks *r, double *values, int count, sn_error *error) { return r ? wire_sum(r, values, count, error) : SN_OK; }
sn_status sn_ranks_tell(sn_ranks *r, int64_t *number, sn_error *error) { return r ? wire_send(r, number, sizeof *number, 0, error) : SN_OK; }

/* What was asked for in vain is no longer waited for. */
void sn_ranks_leave(sn_ranks *r) {
    if (r) r->broken = true;
}

static sn_status leave(sn_ranks *r, sn_status status) {
    if (status) sn_ranks_leave(r);
    return status;
}

/* Pieces of so many things of that width from each process, and behind them where each piece begins: *pieces [2 n] (sn_free). */
static sn_status lay_out(const sn_ranks *r, const int64_t *counts, int64_t width, int **pieces, int64_t *total, sn_error *error) {
    int n = sn_ranks_count(r);
    int64_t sum = 0, values;
    if (!(*pieces = sn_alloc(2 * (size_t)n, sizeof **pieces))) return sn_fail_memory(error);
    for (int i = 0; i < n; i++) {
        if (__builtin_mul_overflow(counts[i], width, &values) || values > INT_MAX - sum)
            return sn_fail(error, SN_ERROR_SUPPORT, "more than %d values from all processes together cannot be sent at once", INT_MAX);
        (*pieces)[i] = (int)values, (*pieces)[n + i] = (int)sum, sum += values;
    }
    *total = sum;
    return SN_OK;
}

sn_status sn_ranks_gather_text(sn_ranks *r, const char *text, char ***texts, sn_error *error) {
    int n = sn_ranks_count(r), *pieces = NULL;
    int64_t *lengths = sn_alloc((size_t)n, sizeof *lengths), own = (int64_t)strlen(text) + 1, total = 0;
    *texts = NULL;
    sn_status status = !lengths ? sn_fail_memory(error) : r ? wire_numbers(r, own, lengths, error) : SN_OK;
    if (!status && !r) lengths[0] = own;
    if (!status) status = lay_out(r, lengths, 1, &pieces, &total, error);
    char **block = status ? NULL : sn_alloc((size_t)n * sizeof(char *) + (size_t)total, 1);
    if (!status && !block) status = sn_fail_memory(error);
    if (!status) {
        char *bytes = (char *)(block + n);
        for (int i = 0; i < n; i++) block[i] = bytes + pieces[n + i];
        if (r) status = wire_join(r, text, bytes, pieces, pieces + n, false, error);
        else memcpy(bytes, text, (size_t)total);
    }
    sn_free(lengths);
    sn_free(pieces);
    if (status) sn_free(block);
    else *texts = block;
    return leave(r, status);
}

sn_status sn_ranks_gather(sn_ranks *r, const float *rows, const int64_t *counts, int64_t columns, float *all, sn_error *error) {
    int *pieces = NULL;
    int64_t total = 0;
    sn_status status = lay_out(r, counts, columns, &pieces, &total, error);
    if (!status) status = wire_join(r, rows, all, pieces, pieces + sn_ranks_count(r), true, error);
    sn_free(pieces);
    return leave(r, status);
}

sn_status sn_ranks_gather_back(sn_ranks *r, const float *gradient, const int64_t *counts, int64_t columns, float *rows, sn_error *error) {
    int *pieces = NULL;
    int64_t total = 0;
    sn_status status = lay_out(r, counts, columns, &pieces, &total, error);
    if (!status) status = wire_sum_pieces(r, gradient, rows, pieces, error);
    sn_free(pieces);
    return leave(r, status);
}
