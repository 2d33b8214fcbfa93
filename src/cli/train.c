/* sensorium train RECIPE.yaml: one stage of a paper's training, resumable. */
#include "base/clock.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/command.h"
#include "train/run.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static atomic_bool cancelled;

static void on_signal(int number) {
    (void)number;
    atomic_store(&cancelled, true);
}

/* What a process says when it is told to end while it works with others: for the checkpoint that is there, and, while one is
 * written, for that, too, which counts as soon as its folder is there. `latest` is the newer one. */
typedef struct farewell {
    char folder[4096], text[4096 + 256]; /* folder empty: no checkpoint yet */
} farewell;
static farewell farewells[2];
static atomic_int latest;
static atomic_bool speaks;
static atomic_long first_process; /* rank 0's, for rank 1, which speaks where that is gone; 0 = this one is it */

/* mpirun sends this to the others when one of them died, and when it is to end itself; it kills them a second later. */
static void on_end(int number) {
    (void)number;
    int newer = atomic_load(&latest);
    const farewell *f = &farewells[newer];
    if (f->folder[0] && access(f->folder, F_OK) != 0) f = &farewells[1 - newer];
    pid_t first = (pid_t)atomic_load(&first_process);
    if (atomic_load(&speaks) && !atomic_load(&cancelled) && (!first || kill(first, 0) != 0)) (void)!write(2, f->text, strlen(f->text));
    atomic_store(&cancelled, true);
}

typedef struct view {
    bool terminal, json, dry, first; /* first: rank 0, which speaks for all */
    const char *folder;
    int64_t skipped, cut, samples, saved; /* samples: of those listed; saved: the step of the last checkpoint, 0 = none */
    sn_progress progress; /* on a terminal, which gets whole lines for checkpoints only */
    char note[40];
} view;

/* Rank 0 says it, and rank 1 in case that rank 0 is the one that died. */
static void on_save(void *context, int64_t step) {
    const view *v = context;
    int next = 1 - atomic_load(&latest);
    farewell *f = &farewells[next];
    *f = (farewell){0};
    if (step) snprintf(f->folder, sizeof f->folder, "%s/step-%" PRId64, v->folder, step);
    snprintf(f->text, sizeof f->text, "sensorium: error: the run is ended from outside, or one of its processes has died; %s%s%s\n", step ? "the last whole checkpoint is " : "there is no checkpoint yet", f->folder,
             step ? "; the same command goes on from there" : "");
    atomic_store(&latest, next);
}

static void on_step(void *context, const sn_step_report *r) {
    view *v = context;
    double left = sn_progress_left(&v->progress, r->step, sn_seconds() - v->progress.begun);
    if (r->checkpoint) v->saved = r->step;
    if (v->json || !v->first) return;
    if (r->empty) snprintf(v->note, sizeof v->note, "loss none");
    else snprintf(v->note, sizeof v->note, "loss %.6f", r->loss.total);
    sn_progress_to(&v->progress, r->step);
    if (v->terminal && !r->checkpoint) return;
    sn_progress_end(&v->progress);
    printf("step %lld/%lld  %s", (long long)r->step, (long long)r->steps, v->note);
    for (int i = 0; i < r->loss.count; i++) printf("  %s %.4f", r->loss.part[i].name, r->loss.part[i].value);
    printf("  learnt %lld  norm %.4f  lr %.3g  %.0f tokens/s  %.0f s left\n", (long long)r->learnt, r->grad_norm, r->lr, r->seconds > 0 ? (double)r->tokens / r->seconds : 0, left);
    fflush(stdout); /* a line a step reaches a pipe at once */
}

static void on_skip(void *context, const char *sample, const char *why) {
    view *v = context;
    sn_progress_end(&v->progress);
    if (v->skipped++ < 20) fprintf(stderr, "sensorium: sample %s is skipped: %s\n", sample, why);
    if (v->skipped == 20) fputs("sensorium: further skipped samples are only counted\n", stderr);
}

static void on_cut(void *context, const char *sample, const char *how) {
    view *v = context;
    if (v->cut++ < 20) fprintf(stderr, "sensorium: sample %s is cut: %s\n", sample, how);
    if (v->cut == 20) fputs("sensorium: further cut samples are only counted\n", stderr);
}

/* Of a dry run the first samples are listed. */
static void on_sample(void *context, const char *id, const sn_sample *sample, int64_t learnt) {
    view *v = context;
    if (v->dry && !v->json && v->samples++ < 20) printf("sample %s: %lld learnt of %zu positions, pictures %d\n", id ? id : "(without id)", (long long)learnt, sample->ids.count, sample->num_media);
}

/* What every source has given, where there are several. */
static void print_sources(const sn_mixture *m) {
    for (int i = 0; i < m->num_sources && m->num_sources > 1; i++)
        printf("%-22s%lld given of %lld samples (%.2f epochs): %s\n", i ? "" : "sources", (long long)m->state.given[i], (long long)m->count[i], (double)m->state.given[i] / (double)m->count[i], m->name[i]);
}

static void print_survey(const sn_training *t, const sn_data_report *d, double seconds) {
    int64_t learning = 0, own = 0, all = 0;
    for (size_t i = 0; i < t->trainer.count; i++) learning += t->trainer.trainables[i].count, own += t->trainer.trainables[i].own_count;
    for (size_t i = 0; i < t->model->store->count; i++) all += sn_shape_count(&t->model->store->entries[i]->weight.shape);
    printf("%-22s%s, %s\n", "model", t->model->system->title, t->model->layout);
    printf("%-22s%lld of %lld (%zu tensors)\n", "parameters that learn", (long long)learning, (long long)all, t->trainer.count);
    printf("%-22s%.1f MB (masters, gradients, two moments), %.1f MB for the values of a pass%s\n", "memory for learning", 8e-6 * (double)(learning + own), 1e-6 * (double)d->pass_memory,
           t->trainer.recompute ? ", blocks computed again" : "");
    if (t->trainer.lora.r) printf("%-22srank %lld, alpha %g, dropout %g\n", "low-rank updates", (long long)t->trainer.lora.r, t->trainer.lora.alpha, t->trainer.lora.dropout);
    printf("%-22s%lld, usable %lld, without a learnt token %lld, broken %lld\n", "samples", (long long)d->samples, (long long)d->usable, (long long)d->without_labels, (long long)d->broken);
    if (!d->pictures) printf("%-22snone: what is reached through pictures alone (the projector) is left as it is\n", "pictures");
    printf("%-22s%lld (%.1f a sample), longest sample %lld positions, %lld cut\n", "learnt tokens", (long long)d->learnt, d->usable ? (double)d->learnt / (double)d->usable : 0, (long long)d->longest, (long long)d->cut);
    printf("%-22s%lld of %u samples (%u a pass), %lld done\n", "steps", (long long)t->steps, t->recipe->batch.size, t->recipe->batch.micro, (long long)t->state.step);
    print_sources(&t->state.mixture);
    if (sn_ranks_count(t->hooks.ranks) > 1) printf("%-22s%d, %d threads each\n", "processes", sn_ranks_count(t->hooks.ranks), sn_engine_threads(t->engine));
    if (seconds > 0) printf("%-22s%.3g s a step, %.3g h for the steps that are left (from one pass)\n", "time", seconds, seconds * (double)(t->steps - t->state.step) / 3600);
}

static void print_export(const sn_training *t, const sn_export *exported, bool json) {
    if (json) {
        json_t *object = json_pack("{s:o, s:I, s:I}", "exported", sn_json_text(exported->path), "steps", (json_int_t)t->state.step, "skipped", (json_int_t)t->state.skipped);
        if (object) json_dumpf(object, stdout, 0);
        putchar('\n');
        json_decref(object);
        return;
    }
    printf("%s: written (%lld steps, %lld samples skipped)\n", exported->path, (long long)t->state.step, (long long)t->state.skipped);
    print_sources(&t->state.mixture);
    if (exported->lost > 0) printf("%.2g %% of the merged update is lost by rounding to the stored type\n", 100 * exported->lost);
}

static void print_look(const sn_training *t, const view *v, const sn_data_report *d, double seconds) {
    if (!v->json) print_survey(t, d, seconds);
    else if (v->dry)
        printf("{\"samples\": %lld, \"usable\": %lld, \"without_labels\": %lld, \"broken\": %lld, \"cut\": %lld, \"learnt\": %lld, \"pictures\": %lld, \"steps\": %lld, \"seconds_per_step\": %.4g, \"pass_memory\": %zu}\n",
               (long long)d->samples, (long long)d->usable, (long long)d->without_labels, (long long)d->broken, (long long)d->cut, (long long)d->learnt, (long long)d->pictures, (long long)t->steps, seconds,
               d->pass_memory);
}

/* Looks at all samples, and at one pass where nothing shall be run; whether the run may begin. Of several processes the first
 * looks for all. */
static sn_status look(sn_training *t, const view *v, sn_error *error) {
    sn_data_report data = {0};
    sn_error few = {0};
    double seconds = 0;
    sn_status status = v->first ? sn_training_survey(t, v->dry, &data, error) : SN_OK, unfit = status || !v->first ? status : sn_training_check_data(t, &data, &few);
    status = sn_ranks_agree(t->hooks.ranks, status, NULL, 0, error);
    if (!status && v->dry) status = sn_training_time(t, &seconds, error);
    if (!status && v->first) print_look(t, v, &data, seconds);
    if (!status && unfit && !v->dry) status = sn_fail(error, unfit, "%s", few.message);
    else if (!status && unfit) fprintf(stderr, "sensorium: the run would not begin: %s\n", few.message);
    return sn_ranks_agree(t->hooks.ranks, status, NULL, 0, error);
}

/* What to say where the run is ended from outside is known before it begins. */
static sn_status prepare_end(view *v, const sn_training *t, sn_error *error) {
    int64_t process = getpid();
    sn_status status = sn_ranks_tell(t->hooks.ranks, &process, error);
    atomic_store(&first_process, v->first ? 0 : (long)process);
    v->saved = t->state.step;
    on_save(v, v->saved);
    atomic_store(&speaks, sn_ranks_count(t->hooks.ranks) > 1 && sn_ranks_rank(t->hooks.ranks) < 2);
    return status;
}

static sn_status train(sn_training *t, view *v, sn_export *exported, sn_error *error) {
    sn_status status = look(t, v, error);
    if (!status && !v->dry) status = prepare_end(v, t, error);
    if (status || v->dry) return status;
    signal(SIGINT, on_signal);
    signal(SIGUSR1, on_signal); /* mpirun passes it on to all */
    signal(SIGTERM, on_end);
    signal(SIGXFSZ, SIG_IGN); /* a file that grows beyond its limit is an error like a full disk */
    sn_progress_begin(&v->progress, v->terminal && v->first && !v->json ? stderr : NULL, "steps", "steps", t->steps);
    v->progress.had = t->state.step, v->progress.note = v->note;
    status = sn_training_run(t, exported, error);
    if (sn_ranks_agreed(t->hooks.ranks)) atomic_store(&speaks, false); /* all know how it ended: that one of them is gone first is no news */
    sn_progress_end(&v->progress);
    sn_error inner = *error;
    if (status && !sn_ranks_agreed(t->hooks.ranks) && v->saved) sn_fail(error, status, "%s; the last whole checkpoint is %s/step-%" PRId64, inner.message, v->folder, v->saved);
    return status;
}

/* Everything from the recipe on, for one of the processes that train together. */
static sn_status run_recipe(const sn_arguments *a, const sn_recipe *recipe, int threads, sn_ranks *ranks, sn_error *error) {
    bool only_export = sn_argument_given(a, "export"), fresh = sn_argument_given(a, "fresh");
    view v = {.terminal = isatty(1) && sn_ranks_count(ranks) == 1, .json = sn_argument_given(a, "json"), .dry = sn_argument_given(a, "dry-run"), .first = sn_ranks_rank(ranks) == 0, .folder = recipe->save.folder};
    if (only_export && (v.dry || fresh)) return sn_fail(error, SN_ERROR_USAGE, "--export: leaves a checkpoint as the result; --%s does not go with it", v.dry ? "dry-run" : "fresh");
    sn_run_hooks hooks = {.context = &v, .on_step = on_step, .on_save = on_save, .on_skip = on_skip, .on_cut = on_cut, .on_sample = on_sample, .cancel = &cancelled, .ranks = ranks, .timeline = sn_argument(a, "timeline")};
    sn_training training;
    sn_status status = sn_training_open(recipe, threads, fresh, &hooks, &training, error);
    if (status) return status;
    sn_export exported = {0};
    status = only_export ? sn_training_export(&training, &exported, error) : train(&training, &v, &exported, error);
    if (!status && exported.path) print_export(&training, &exported, v.json);
    sn_free(exported.path);
    sn_training_close(&training);
    return status;
}

static sn_status run(const sn_arguments *a, sn_error *error) {
    const char *set[64];
    int num_set = 0;
    for (const char *value; num_set < 64 && (value = sn_argument_at(a, "set", num_set)); num_set++) set[num_set] = value;
    int64_t threads = 0;
    sn_recipe *recipe = NULL;
    sn_ranks *ranks;
    sn_status status = sn_ranks_open(&ranks, error);
    if (status) return status;
    status = sn_argument_integer(a, "threads", 1, 1024, &threads, error);
    if (!status) status = sn_recipe_read(a->plain[0], set, num_set, &recipe, error);
    status = sn_ranks_agree(ranks, status, NULL, 0, error);
    if (!status) recipe->new_rates = sn_argument_given(a, "new-rates");
    if (!status) status = run_recipe(a, recipe, sn_ranks_threads(ranks, (int)threads), ranks, error);
    /* What all agree on rank 0 says and fails for all: mpirun kills the others as soon as one fails, and rank 0 is to have spoken.
     * What this process met alone, lost touch or out of memory, it says itself. */
    if (sn_ranks_agreed(ranks) && sn_ranks_rank(ranks) > 0) status = SN_OK;
    sn_ranks_close(ranks);
    sn_recipe_free(recipe);
    return status;
}

static const sn_option options[] = {
    {"set", 0, "NAME=VALUE", "override a word of the recipe, e.g. optimizer.lr=1e-4 (may be given again)"},
    {"dry-run", 0, NULL, "check everything, print what would be trained, and stop"},
    {"export", 0, NULL, "leave the newest checkpoint as the result, and run no more steps"},
    {"fresh", 0, NULL, "begin at step 0 even if save.folder holds a checkpoint"},
    {"new-rates", 0, NULL, "go on from a checkpoint of other learning rates, decay, clipping or schedule with the present ones"},
    {"threads", 0, "N", "threads that compute, in each process (default: all; several processes on one machine share them out)"},
    {"timeline", 0, "FILE", "write what the first steps do when, as trace events that browsers draw"},
    {"json", 0, NULL, "results as JSON"},
    {0},
};
static const sn_option *const tables[] = {options, NULL};

const sn_command sn_command_train = {
    .name = "train", .summary = "one stage of a paper's training, resumable", .plain = "RECIPE", .min_plain = 1, .max_plain = 1,
    .details = "RECIPE is a YAML file (recipes/ holds the papers' own). A run goes on from the newest checkpoint in its\n"
               "save.folder; Ctrl-C ends it after the present step with a checkpoint. Under `mpirun -n N` N processes share each\n"
               "step's samples and the optimizer's state; the losses are those of one process.",
    .example = "sensorium train recipes/llava-stage1.yaml --dry-run", .tables = tables, .run = run};
