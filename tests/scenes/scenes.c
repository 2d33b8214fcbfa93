/* Questions about scenes, answered by a model and held against right answers and a reference's.
 *
 *   scenes FOLDER
 *
 * FOLDER has questions.jsonl and the pictures it names, and the model in FOLDER/model or beside the questions. One
 * process answers all, greedily. Fails where the ids differ from the reference's although its two best scores were
 * at least 1e-3 apart, or where accuracy is not the reference's but for such close calls. */
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "generate/conversation.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double CLOSE_CALL = 1e-3;

enum { MAX_KINDS = 64 };

typedef struct tally {
    char name[48]; /* "count.en" */
    int questions, right, reference_right, other;
} tally;

typedef struct run {
    const char *folder;
    sn_engine *engine;
    sn_model *model;
    sn_pictures *pictures;
    sn_conversation *conversation;
    tally kinds[MAX_KINDS], all;
    int num_kinds, close_calls;
    sn_error error;
} run;

static tally *tally_of(run *r, const json_t *question) {
    char name[48];
    snprintf(name, sizeof name, "%s.%s", sn_json_string(question, "kind"), sn_json_string(question, "language"));
    for (int i = 0; i < r->num_kinds; i++)
        if (strcmp(r->kinds[i].name, name) == 0) return &r->kinds[i];
    tally *t = &r->kinds[r->num_kinds < MAX_KINDS - 1 ? r->num_kinds++ : MAX_KINDS - 1];
    strcpy(t->name, name);
    return t;
}

static bool same_ids(const json_t *reference, const sn_ids *ids) {
    if (json_array_size(reference) != ids->count) return false;
    for (size_t i = 0; i < ids->count; i++)
        if (json_integer_value(json_array_get(reference, i)) != ids->data[i]) return false;
    return true;
}

static void judge(run *r, const json_t *question, const sn_reply *reply) {
    const char *answer = sn_json_string(question, "answer"), *reference = sn_json_string(question, "reference_answer");
    if (!reference) reference = answer; /* scenes that no reference has seen */
    bool right = strcmp(answer, reply->text.data) == 0, reference_right = strcmp(answer, reference) == 0;
    bool same = same_ids(sn_json_at(question, "reference_ids"), &reply->answer.ids), close_call = json_number_value(sn_json_at(question, "margin")) < CLOSE_CALL;
    r->close_calls += close_call;
    tally *tallies[] = {tally_of(r, question), &r->all};
    for (int i = 0; i < 2; i++) {
        tallies[i]->questions++;
        tallies[i]->right += right;
        tallies[i]->reference_right += reference_right && (!close_call || same);
        if (close_call && !same) tallies[i]->reference_right += right; /* a coin that fell otherwise */
        tallies[i]->other += !same && !close_call;
    }
    if (!same)
        printf("%s, %s: found \"%s\", the reference says \"%s\"%s\n", sn_json_string(question, "scene"), sn_json_string(question, "question"), reply->text.data, reference,
               close_call ? " (a close call)" : "");
}

static sn_status ask(run *r, const json_t *question) {
    const char *scene = sn_json_string(question, "scene"), *text = sn_json_string(question, "question");
    if (!scene || !text || !sn_json_string(question, "answer") || !sn_json_string(question, "kind") || !sn_json_string(question, "language"))
        return sn_fail(&r->error, SN_ERROR_INPUT, "questions.jsonl: a question without scene, question, answer, kind or language");
    char *path = sn_path_join(r->folder, scene);
    if (!path) return sn_fail_memory(&r->error);
    sn_picture *picture;
    sn_generate_options greedy = sn_generate_defaults();
    sn_turn_result result;
    sn_status status = sn_picture_open(r->pictures, path, NULL, &picture, &r->error);
    if (!status) {
        sn_conversation_cut(r->conversation, 0);
        status = sn_conversation_add(r->conversation, SN_ROLE_USER, (sn_piece[]){{.text = path, .picture = picture}, {.text = text}}, 2, &r->error);
        sn_picture_drop(r->pictures, picture);
    }
    if (!status) status = sn_conversation_answer(r->conversation, &(sn_turn){.options = &greedy}, &result, &r->error);
    if (!status) {
        judge(r, question, &result.reply);
        sn_reply_free(&result.reply);
    }
    sn_free(path);
    return status;
}

/* Each line of the file is a question. */
static sn_status ask_all(run *r) {
    char *path = sn_path_join(r->folder, "questions.jsonl"), *text = NULL;
    size_t size = 0;
    sn_progress progress;
    sn_status status = path ? sn_read_file(path, 1 << 28, &text, &size, &r->error) : sn_fail_memory(&r->error);
    int64_t lines = 0, done = 0;
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    sn_progress_begin(&progress, stderr, "questions", "questions", lines);
    for (char *line = text, *end; !status && line && *line; line = end) {
        end = line + strcspn(line, "\n");
        json_t *question = NULL;
        status = sn_json_bytes("questions.jsonl", line, (size_t)(end - line), &question, &r->error);
        if (!status) status = ask(r, question);
        json_decref(question);
        sn_progress_to(&progress, ++done);
        end += *end == '\n';
    }
    sn_progress_end(&progress);
    sn_free(text);
    sn_free(path);
    return status;
}

static sn_status open_model(run *r) {
    char *inner = sn_path_join(r->folder, "model");
    if (!inner) return sn_fail_memory(&r->error);
    sn_model_files files = {.main = sn_is_directory(inner) ? inner : r->folder};
    sn_status status = sn_engine_new(0, &r->engine, &r->error);
    if (!status) status = sn_model_open(r->engine, &files, &r->model, &r->error);
    if (!status) status = sn_pictures_new(r->model, 64 << 20, &r->pictures, &r->error);
    if (!status) status = sn_conversation_new(r->model, r->pictures, &r->conversation, &r->error);
    sn_free(inner);
    return status;
}

static void print_tally(const tally *t) {
    printf("%-14s %5d questions  right %.4f  reference %.4f  other answers %d\n", t->name, t->questions, (double)t->right / t->questions, (double)t->reference_right / t->questions, t->other);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: scenes FOLDER\n", stderr);
        return 2;
    }
    run r = {.folder = argv[1], .all.name = "all"};
    struct timespec begun, ended;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    sn_status status = open_model(&r);
    if (!status) status = ask_all(&r);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    for (int i = 0; i < r.num_kinds; i++) print_tally(&r.kinds[i]);
    if (r.all.questions) print_tally(&r.all);
    printf("%d close calls; %.1f s\n", r.close_calls, (double)(ended.tv_sec - begun.tv_sec) + 1e-9 * (double)(ended.tv_nsec - begun.tv_nsec));
    sn_conversation_free(r.conversation);
    sn_pictures_free(r.pictures);
    sn_model_close(r.model);
    sn_engine_free(r.engine);
    if (status) fprintf(stderr, "scenes: error: %s\n", r.error.message);
    return status || r.all.questions == 0 || r.all.other || r.all.right != r.all.reference_right;
}
