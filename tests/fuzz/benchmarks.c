/* Benchmarks: the first byte chooses the layout, the rest is the file; VisDial's has its relevance behind a line of two bytes
 * FF. What was read is walked through, cut to its beginning, and walked through again; captions are tokenised. */
#include "fuzz/fuzz.h"

#include "eval/captions.h"
#include "eval/set.h"

#include <string.h>

static sn_status captions(const char *path, const char *more, sn_set *out, sn_error *error) { return sn_set_captions(path, "val", out, error); }
static sn_status stories(const char *path, const char *more, sn_set *out, sn_error *error) { return sn_set_stories(path, out, error); }
static sn_status questions(const char *path, const char *more, sn_set *out, sn_error *error) { return sn_set_questions(path, out, error); }
static sn_status classes(const char *path, const char *more, sn_set *out, sn_error *error) { return sn_set_classes(path, out, error); }

static const struct layout {
    const char *end;
    sn_status (*read)(const char *path, const char *more, sn_set *out, sn_error *error);
} layouts[] = {{"json", captions}, {"jsonl", captions}, {"tsv", captions}, {"json", stories}, {"json", sn_set_dialogues}, {"jsonl", questions}, {"json", classes}};

static void expect(bool holds) {
    if (!holds) abort();
}

static void walk_round(const sn_set_round *r) {
    size_t total = strlen(r->question) + (r->answer ? strlen(r->answer) : 0);
    double sum = 0;
    for (int64_t i = 0; i < r->num_options; i++) total += strlen(r->option[i]), sum += r->relevance ? r->relevance[i] : 0;
    expect(r->right < r->num_options && total < SIZE_MAX && sum >= 0);
}

static void walk(const sn_set *s) {
    for (int64_t i = 0; i < s->num_pictures; i++) expect(s->pictures[i].id && s->pictures[i].name[0] && strlen(s->pictures[i].name[0]) < SIZE_MAX);
    for (int64_t i = 0; i < s->num_captions; i++) {
        char *tokens = sn_caption_tokens(s->captions[i].text);
        expect(tokens && s->captions[i].picture >= 0 && s->captions[i].picture < s->num_pictures && *s->captions[i].id);
        sn_free(tokens);
    }
    for (int64_t i = 0; i < s->num_stories; i++)
        for (int64_t k = 0; k < s->stories[i].count; k++) expect(s->stories[i].picture[k] < s->num_pictures && strlen(s->stories[i].caption[k]) < SIZE_MAX);
    for (int64_t i = 0; i < s->num_dialogues; i++) {
        expect(s->dialogues[i].picture < s->num_pictures);
        for (int64_t k = 0; k < s->dialogues[i].num_rounds; k++) walk_round(&s->dialogues[i].round[k]);
    }
    for (int64_t i = 0; i < s->num_questions; i++) expect(s->questions[i].picture < s->num_pictures && s->questions[i].num_answers > 0 && strlen(s->questions[i].answer[0]) < SIZE_MAX);
    for (int64_t i = 0; i < s->num_labels; i++) expect(s->labels[i].picture < s->num_pictures && s->labels[i].right >= 0 && s->labels[i].right < s->num_classes);
}

static void write_file(const char *path, const uint8_t *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static char folder[64];
    char path[96], more[96];
    if (!size) return 0;
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/dev/shm/sensorium-fuzz-XXXXXX");
        if (!mkdtemp(folder)) abort();
    }
    const struct layout *layout = &layouts[bytes[0] % (sizeof layouts / sizeof *layouts)];
    const uint8_t *second = layout->read == sn_set_dialogues ? memmem(bytes + 1, size - 1, "\n\xff\xff\n", 4) : NULL;
    snprintf(path, sizeof path, "%s/data.%s", folder, layout->end);
    snprintf(more, sizeof more, "%s/more.json", folder);
    write_file(path, bytes + 1, second ? (size_t)(second - bytes - 1) : size - 1);
    if (second) write_file(more, second + 4, (size_t)(bytes + size - second - 4));
    sn_set set;
    sn_error error = {0};
    if (!layout->read(path, second ? more : NULL, &set, &error)) {
        walk(&set);
        sn_set_limit(&set, 2);
        walk(&set);
        sn_set_free(&set);
    }
    unlink(path);
    if (second) unlink(more);
    return 0;
}
