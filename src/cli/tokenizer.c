/* sensorium tokenizer train FOLDER TEXT...: a vocabulary from text of one's own. */
#include "base/file.h"
#include "base/folder.h"
#include "cli/command.h"
#include "text/trainer.h"

#include <stdio.h>
#include <string.h>

static sn_status run(const sn_arguments *a, sn_error *error) {
    static const char *const kinds[] = {"sentencepiece", "byte-level", NULL};
    if (strcmp(a->plain[0], "train") != 0) return sn_fail(error, SN_ERROR_USAGE, "tokenizer: found %s, expected train", a->plain[0]);
    int64_t size = 8000;
    double coverage = 0.9995;
    int kind = 0, learnt = 0;
    const char *folder = a->plain[1];
    sn_status status = sn_argument_integer(a, "size", 257, 1 << 20, &size, error);
    if (!status) status = sn_argument_number(a, "coverage", 0.5, 1, &coverage, error);
    if (!status) status = sn_argument_word(a, "kind", kinds, &kind, error);
    if (status) return status;
    sn_tokenizer_trainer *trainer = sn_tokenizer_trainer_new((sn_trainer_kind)kind);
    if (!trainer) return sn_fail_memory(error);
    for (int i = 2; i < a->num_plain && !status; i++) {
        char *text;
        size_t length;
        if ((status = sn_read_file(a->plain[i], (size_t)1 << 30, &text, &length, error))) break;
        status = sn_tokenizer_trainer_add(trainer, text, length, error);
        if (status) sn_fail_prefix(error, "%s", a->plain[i]);
        sn_free(text);
    }
    if (!status) status = sn_make_folder(folder, error);
    if (!status) status = sn_tokenizer_trainer_write(trainer, (int)size, coverage, folder, &learnt, error);
    if (!status) printf("%s: a vocabulary of %d ids\n", folder, learnt);
    sn_tokenizer_trainer_free(trainer);
    return status;
}

static const sn_option options[] = {
    {"size", 0, "N", "ids of the vocabulary (default 8000)"},
    {"kind", 0, "KIND", "sentencepiece (tokenizer.model, as LLaMA's) or byte-level (vocab.json and merges.txt, as GPT-2's)"},
    {"coverage", 0, "SHARE", "share of the text's characters that get pieces of their own (default 0.9995; sentencepiece)"},
    {0},
};
static const sn_option *const tables[] = {options, NULL};

const sn_command sn_command_tokenizer = {
    .name = "tokenizer", .summary = "learn a vocabulary from text", .plain = "train FOLDER TEXT...", .min_plain = 3, .max_plain = -1,
    .details = "Counts the words of the TEXT files (UTF-8) and merges the most frequent pairs until the vocabulary has its size.",
    .example = "sensorium tokenizer train my-vocabulary README.md --size 400", .tables = tables, .run = run};
